package cluster

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/wire/rpcerr"
)

// Bounds of settings.
const (
	maxSettingValue = 64 << 10 // bytes of JSON
	maxSettings     = 4096
)

var settingKey = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,63}(/[a-z0-9][a-z0-9_.-]{0,63}){1,7}$`)

// KnownSetting describes a setting that the code reads.
type KnownSetting struct {
	Key         string
	Default     json.RawMessage
	Description string
	// Lowest and Highest bound a number; both are 0 for other types.
	Lowest, Highest int

	valid func(json.RawMessage) error // nil: every value of the type will do
}

// Keys of the settings that this package reads.
const (
	voterGrace      = "cluster/voter_grace_seconds"
	certificateDays = "cluster/certificate_days"

	// What the platform reads.
	stackImage     = "cloud/stack_image"
	certificates   = "cloud/certificates"
	stagingProxy   = "cloud/staging_http_proxy"
	stagingNoProxy = "cloud/staging_no_proxy"
	apiRate        = "cloud/api_requests_per_minute"
	apiRateAny     = "cloud/api_anonymous_requests_per_minute"
)

// KnownSettings lists the settings that this release reads.
func KnownSettings() []KnownSetting {
	return append([]KnownSetting{
		{voterGrace, json.RawMessage("30"), "seconds without a sign of life after which a dead voter is replaced (1 to 86400)", 1, 24 * 3600, nil},
		{stackImage, json.RawMessage(`""`), "image that apps are staged and run in, with its tag (scripts/stack makes it)", 0, 0, nil},
		{certificates, json.RawMessage(`""`), "further certificate authorities, PEM, that staging and app containers trust", 0, 0, nil},
		{stagingProxy, json.RawMessage(`""`), "HTTP proxy that staging containers use, such as http://proxy:3128", 0, 0, checkStagingProxy},
		{stagingNoProxy, json.RawMessage(`""`), "hosts and .domains, with commas, that staging containers reach without that proxy", 0, 0, checkNoProxy},
		{apiRate, json.RawMessage("6000"), "API requests of one user in a minute, on each controller; 0: no limit (0 to 10000000)", 0, 10_000_000, nil},
		{apiRateAny, json.RawMessage("1200"), "API requests of one address without a valid token in a minute, on each controller; 0: no limit (0 to 10000000)", 0, 10_000_000, nil},
		{certificateDays, json.RawMessage("30"), "lifetime of node certificates in days (1 to 365)", 1, 365, nil},
	}, routerSettings()...)
}

func knownSetting(key string) (KnownSetting, bool) {
	known := KnownSettings()
	i := slices.IndexFunc(known, func(k KnownSetting) bool { return k.Key == key })
	if i < 0 {
		return KnownSetting{}, false
	}
	return known[i], true
}

// check refuses a value that the code would not use. It is no part of the
// command: releases differ in what they know.
func (k KnownSetting) check(value json.RawMessage, force bool) error {
	if !force {
		if err := checkSameType(k.Key, k.Default, value); err != nil {
			return err
		}
	}
	if k.valid != nil {
		return k.valid(value)
	}
	if k.Highest == 0 || JSONType(value) != "number" {
		return nil
	}
	var n int
	if err := json.Unmarshal(value, &n); err != nil || n < k.Lowest || n > k.Highest {
		return rpcerr.New(rpcerr.Invalid, "%s is a whole number from %d to %d, not %.40s", k.Key, k.Lowest, k.Highest, value)
	}
	return nil
}

type settingInput struct {
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
	Now   time.Time       `json:"now"`
	Force bool            `json:"force"`
	// IfVersion is the version that the stored one must have now (0: absent).
	IfVersion *uint64 `json:"if_version,omitempty"`
}

var (
	cmdSettingPut = &consensus.Command[settingInput, Setting]{Type: "cluster.setting_put", Version: 1}
	cmdSettingDel = &consensus.Command[string, struct{}]{Type: "cluster.setting_del", Version: 1}
)

func registerSettings(r *consensus.Registry) {
	register(r, cmdSettingPut, applySettingPut)
	register(r, cmdSettingDel, applySettingDel)
}

// Settings returns the settings that are set, by key.
func Settings(r consensus.Reader) []Setting {
	return consensus.List[Setting](r, settingsTable, "id")
}

// JSONType names the type of a JSON value: string, number, boolean, array,
// object or null.
func JSONType(v json.RawMessage) string {
	v = bytes.TrimSpace(v)
	switch {
	case len(v) == 0:
		return ""
	case v[0] == '"':
		return "string"
	case v[0] == '{':
		return "object"
	case v[0] == '[':
		return "array"
	case v[0] == 't', v[0] == 'f':
		return "boolean"
	case v[0] == 'n':
		return "null"
	}
	return "number"
}

func applySettingPut(tx *consensus.Tx, in settingInput) (Setting, error) {
	old, exists := consensus.Get[Setting](tx, settingsTable, "id", in.Key)
	switch {
	case !settingKey.MatchString(in.Key):
		return old, rpcerr.New(rpcerr.Invalid, "setting key %.80q: use parts of a-z, 0-9, '_', '.' and '-' joined by '/', at least two", in.Key)
	case len(in.Value) > maxSettingValue:
		return old, rpcerr.New(rpcerr.Exhausted, "the value has %d bytes, at most %d are kept", len(in.Value), maxSettingValue)
	case !json.Valid(in.Value):
		return old, rpcerr.New(rpcerr.Invalid, "the value is not JSON").WithHint("quote strings: kato config set %s '\"text\"'", in.Key)
	case in.IfVersion != nil && *in.IfVersion != old.Version:
		return old, rpcerr.New(rpcerr.Conflict, "%s has version %d, not %d", in.Key, old.Version, *in.IfVersion).WithHint("read it again")
	case !exists && len(Settings(tx)) >= maxSettings:
		return old, rpcerr.New(rpcerr.Exhausted, "there are %d settings already", maxSettings)
	}
	if exists && !in.Force {
		if err := checkSameType(in.Key, old.Value, in.Value); err != nil {
			return old, err
		}
	}
	s := Setting{Key: in.Key, Value: in.Value, Version: old.Version + 1, Modified: in.Now}
	return s, consensus.Put(tx, settingsTable, s)
}

func checkSameType(key string, was, is json.RawMessage) error {
	if JSONType(was) == JSONType(is) {
		return nil
	}
	return rpcerr.New(rpcerr.Precondition, "%s is a %s, the new value is a %s", key, JSONType(was), JSONType(is)).
		WithHint("give --force to change the type")
}

func applySettingDel(tx *consensus.Tx, key string) (struct{}, error) {
	n, err := consensus.Delete(tx, settingsTable, "id", key)
	if err == nil && n == 0 {
		err = rpcerr.New(rpcerr.NotFound, "%.80q is not set", key).WithHint("see: kato config get")
	}
	return struct{}{}, err
}

// intSetting returns a known setting that is a number: what is set if that can
// be used, else the default.
func intSetting(r consensus.Reader, key string) int {
	k, _ := knownSetting(key)
	var out int
	_ = json.Unmarshal(k.Default, &out) // our own constant
	if s, ok := consensus.Get[Setting](r, settingsTable, "id", key); ok {
		var v int
		if json.Unmarshal(s.Value, &v) == nil && v >= k.Lowest && v <= k.Highest {
			out = v
		}
	}
	return out
}

// Below reports whether key is prefix or lies below it; "" is above all.
func Below(key, prefix string) bool {
	return prefix == "" || key == prefix || strings.HasPrefix(key, strings.TrimSuffix(prefix, "/")+"/")
}
