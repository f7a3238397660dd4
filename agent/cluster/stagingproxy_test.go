package cluster

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stackato/stackato/wire/rpcerr"
)

func TestProxiesOfBuilds(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	for _, tt := range []struct {
		key, value, hint string // "": taken
	}{
		{stagingProxy, `"http://proxy:3128"`, ""},
		{stagingProxy, `"http://user:secret@10.0.0.7:3128/"`, ""},
		{stagingProxy, `""`, ""},
		{stagingProxy, `"proxy:3128"`, "http://HOST:PORT"},
		{stagingProxy, `"socks5://proxy:1080"`, "http://HOST:PORT"},
		{stagingProxy, `"http://user:secret@proxy:3128/path"`, "http://HOST:PORT"},
		{stagingNoProxy, `"registry.example.com,.corp.example.com,10.0.0.7,10.1.0.0/16,fd00::7"`, ""},
		{stagingNoProxy, `""`, ""},
		{stagingNoProxy, `["registry.example.com"]`, "--force"},
		{stagingNoProxy, `"*"`, "kato config del cloud/staging_http_proxy"},
		{stagingNoProxy, `"*.example.com"`, "write .example.com"},
		{stagingNoProxy, `"https://registry.example.com/simple"`, "the host alone"},
		{stagingNoProxy, `"registry.example.com:8443"`, "without its port"},
		{stagingNoProxy, `"a.example.com, b.example.com"`, "no spaces"},
		{stagingNoProxy, `"a.example.com,"`, "with commas"},
		{stagingNoProxy, `"` + strings.Repeat("a,", maxNoProxy) + `a"`, ".example.com"},
	} {
		_, err := m.PutSetting(ctx, tt.key, json.RawMessage(tt.value), false, nil)
		if tt.hint == "" {
			if err != nil {
				t.Errorf("%s %s: %v", tt.key, tt.value, err)
			}
			continue
		}
		var refused *rpcerr.Error
		if !errors.As(err, &refused) || !strings.Contains(refused.Hint(), tt.hint) {
			t.Errorf("%s %.60s: %+v, want the hint %q", tt.key, tt.value, err, tt.hint)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("a password is shown: %v", err)
		}
	}
	if got := string(m.Setting(stagingProxy)); got != `""` {
		t.Errorf("a refusal changed the setting to %s", got)
	}
}
