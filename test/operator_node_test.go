package test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/test/cluster"
)

// infoOfNodes: kato info says of a running node what it can do, beside what it
// does.
func infoOfNodes(ctx context.Context, t *testing.T, c *cluster.Cluster) {
	installed := node.AllRoles().Without(node.AllRoles().NotInstalled())
	for i, roles := range []string{"base,controller,router,dea", "base,dea"} {
		var info local.Info
		if err := c.Node(i).KatoJSON(ctx, &info, "info"); err != nil {
			t.Error(err)
			continue
		}
		if got := strings.Join(names(info.AssignedRoles.List()), ","); got != roles {
			t.Errorf("%s has the roles %s, want %s", c.Node(i).Name, got, roles)
		}
		if !slices.Equal(info.AvailableRoles.List(), installed.List()) || !info.AvailableRoles.Has(node.DEA) || info.AvailableRoles.Has("mysql") {
			t.Errorf("%s can have the roles %v, want %v", c.Node(i).Name, info.AvailableRoles.List(), installed.List())
		}
		out, err := c.Node(i).Kato(ctx, "info")
		if want := "available roles"; err != nil || !strings.Contains(out, want) || !strings.Contains(out, "controller") {
			t.Errorf("kato info says, %v:\n%s", err, out)
		}
	}
}

func names(roles []node.Role) []string {
	out := make([]string, 0, len(roles))
	for _, r := range roles {
		out = append(out, string(r))
	}
	return out
}

// adminOfNodes: with the password that kato user reset-admin prints one logs
// in, with the one before no more.
func adminOfNodes(ctx context.Context, t *testing.T, c *cluster.Cluster) {
	n := c.Node(0)
	text, err := os.ReadFile(n.HostPath(cluster.DataDir + "/admin.txt"))
	must(t, err)
	_, first, _ := strings.Cut(string(text), "password: ")
	first = strings.TrimSpace(first)
	eventually(ctx, t, "logging in with the first password", func() error { return logsIn(ctx, n, first, http.StatusOK) })

	var fresh local.Credentials
	must(t, n.KatoJSON(ctx, &fresh, "user", "reset-admin"))
	if fresh.Username != "admin" || fresh.Password == "" || fresh.Password == first {
		t.Fatalf("reset-admin says user %q, and the password is another one: %v", fresh.Username, fresh.Password != first)
	}
	if err := logsIn(ctx, n, first, http.StatusUnauthorized); err != nil {
		t.Errorf("with the old password: %v", err)
	}
	if err := logsIn(ctx, n, fresh.Password, http.StatusOK); err != nil {
		t.Errorf("with the new password: %v", err)
	}
	text, err = os.ReadFile(n.HostPath(cluster.DataDir + "/admin.txt"))
	if err != nil || !strings.Contains(string(text), "password: "+fresh.Password+"\n") {
		t.Errorf("admin.txt does not hold the new password: %v", err)
	}
}

// logsIn asks the log-in service for a token, as cf does.
func logsIn(ctx context.Context, n *cluster.Node, password string, want int) error {
	ca, err := os.ReadFile(n.HostPath(cluster.DataDir + "/router-ca.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return n.Dial(ctx, network, net.JoinHostPort(n.Address, "443"))
		},
	}}
	form := url.Values{"grant_type": {"password"}, "username": {"admin"}, "password": {password}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://login.stackato.localhost/oauth/token", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("cf", "")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err == nil && (resp.StatusCode != want || strings.Contains(string(body), "access_token") != (want == http.StatusOK)) {
		err = fmt.Errorf("the answer is %s: %.200s", resp.Status, body)
	}
	return err
}
