#!/bin/sh
# Makes a Debian root file system a stack: setup.sh ROOT VARIANT. Called by build.sh when the packages are installed.
set -eu

root=$1 variant=$2

# Two names for uid 2000. vcap stands first: it is what the number is shown as. No password, no login.
for name in vcap stackato; do
	echo "$name:x:2000:2000:$name:/home/vcap:/bin/bash" >>"$root/etc/passwd"
	echo "$name:*:20089:0:99999:7:::" >>"$root/etc/shadow"
done
echo 'vcap:x:2000:' >>"$root/etc/group"
echo 'vcap:!::' >>"$root/etc/gshadow"

for dir in home/vcap home/vcap/app home/vcap/deps home/vcap/logs home/vcap/tmp home/vcap/profile.d; do
	install -d -m 0755 -o 2000 -g 2000 "$root/$dir"
done
ln -s vcap "$root/home/stackato"

# An app is alone in its container: nothing may gain rights, so no program of the stack keeps a setuid or setgid bit.
find "$root" -xdev -type f \( -perm -4000 -o -perm -2000 \) -exec chmod u-s,g-s {} +

# nginx runs as the app's user: its compiled-in paths must be writable, and its own site must not be served.
rm -rf "$root/etc/nginx/sites-enabled/default" "$root/var/www/html"
install -d -m 0755 -o 2000 -g 2000 "$root/var/lib/nginx" "$root/var/log/nginx"

# What an app or a buildpack reads to know where it is.
cat >"$root/etc/stackato-stack" <<END
variant=$variant
debian=$(cat "$root/etc/debian_version")
END
# shellcheck disable=SC2016 # dpkg-query expands these
(cd "$root" && chroot . dpkg-query -W -f='${Package} ${Version}\n') >"$root/etc/stackato-stack.packages"

rm -f "$root/etc/machine-id" "$root/var/lib/dbus/machine-id" "$root/etc/hostname" "$root"/etc/*- "$root/etc/ssh"/ssh_host_* || true
: >"$root/etc/machine-id"
rm -rf "$root"/usr/share/locale "$root"/var/log/apt "$root"/var/log/*.log "$root"/var/cache/ldconfig/aux-cache "$root"/var/lib/apt/lists/*
