package proxy

import (
	"net/http"
	"strings"
)

// The cookies of sticky sessions: the app sets sessionCookie, the router adds
// vcapCookie with the instance that answered, as gorouter does.
const (
	sessionCookie = "JSESSIONID"
	vcapCookie    = "__VCAP_ID__"
)

// sticky returns the instance that the client's session is bound to, and whether
// it has a session.
func sticky(h http.Header) (allocID string, session bool) {
	for _, line := range h["Cookie"] {
		for rest := line; rest != ""; {
			var part string
			part, rest, _ = strings.Cut(rest, ";")
			name, value, found := strings.Cut(strings.TrimSpace(part), "=")
			switch {
			case !found:
			case name == sessionCookie:
				session = true
			case name == vcapCookie:
				allocID = strings.Trim(value, `"`)
			}
		}
	}
	if !session {
		return "", false
	}
	return allocID, true
}

// stick adds vcapCookie to a response if the app began a session, or if the
// session's instance is gone and another one answered.
func (x *exchange) stick(res *http.Response) {
	moved := x.hasSession && x.choice.Sticky != "" && x.choice.Sticky != x.backend.AllocID
	if len(res.Header["Set-Cookie"]) == 0 && !moved {
		return
	}
	cookie := &http.Cookie{Name: vcapCookie, Value: x.backend.AllocID, Path: x.route.Path, HttpOnly: true}
	if cookie.Path == "" {
		cookie.Path = "/"
	}
	began := false
	for _, c := range res.Cookies() {
		switch c.Name {
		case sessionCookie:
			began = true
			cookie.Secure, cookie.SameSite, cookie.Expires, cookie.Partitioned = c.Secure, c.SameSite, c.Expires, c.Partitioned
			if c.MaxAge < 0 { // the session ends
				cookie.MaxAge = c.MaxAge
			}
		case vcapCookie:
			return // the app knows better
		}
	}
	if began || moved {
		res.Header.Add("Set-Cookie", cookie.String())
	}
}
