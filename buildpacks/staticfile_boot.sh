#!/bin/bash
# Starts nginx in the foreground, as the app's user. boot.sh check: only reads the configuration.
set -euo pipefail
app=${HOME:-/home/vcap/app}
port=${PORT:-8080}
case $port in
*[!0-9]* | '')
	echo "PORT is not a number: $port" >&2
	exit 1
	;;
esac
PATH=$PATH:/usr/sbin
run=$(mktemp -d)
log=/dev/stdout
if [ "${1:-}" = check ]; then
	log=/dev/null
elif ! (: >>/dev/stdout) 2>/dev/null; then
	# A pipe that belongs to root can be written, not opened anew.
	log=$run/access.log
	mkfifo "$log"
	cat <>"$log" &
fi
https='#'
if [ "${FORCE_HTTPS:-}" = true ]; then
	https=''
fi
sed -e "s|@PORT@|$port|g" -e "s|@APP@|$app|g" -e "s|@RUN@|$run|g" -e "s|@LOG@|$log|g" -e "s|@HTTPS@|$https|g" \
	"$app/nginx/conf/nginx.conf.template" >"$app/nginx/conf/nginx.conf"
if [ "${1:-}" = check ]; then
	code=0
	nginx -t -q -e stderr -p "$app/nginx" -c "$app/nginx/conf/nginx.conf" 2>&1 || code=$?
	rm -rf "$run" "$app/nginx/conf/nginx.conf"
	exit "$code"
fi
exec nginx -e stderr -p "$app/nginx" -c "$app/nginx/conf/nginx.conf" -g 'daemon off;'
