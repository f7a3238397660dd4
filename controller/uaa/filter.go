package uaa

import (
	"net/http"
	"strings"

	"github.com/stackato/stackato/controller/cf"
)

// predicate says whether a resource is meant.
type predicate[T any] func(T) bool

// attributes are those that can be compared, in lower case.
type attributes[T any] map[string]func(T) string

const maxFilter = 4 << 10 // bytes

// parseFilter parses the part of SCIM's filters that clients use: comparisons
// by eq, co, sw or pr, joined by "and" and "or" ("and" binds closer), without
// parentheses. "" means everybody.
func parseFilter[T any](text string, known attributes[T]) (predicate[T], error) {
	bad := fail(http.StatusBadRequest, "scim", "Invalid filter expression: [%.200s]", text)
	words, ok := splitFilter(text)
	switch {
	case !ok || len(text) > maxFilter:
		return nil, bad
	case len(words) == 0:
		return func(T) bool { return true }, nil
	}
	var either, all []predicate[T]
	for {
		p, rest, ok := comparison(words, known)
		if !ok {
			return nil, bad
		}
		all = append(all, p)
		if len(rest) == 0 {
			return anyOf(append(either, allOf(all))), nil
		}
		switch strings.ToLower(rest[0]) {
		case "and":
		case "or":
			either, all = append(either, allOf(all)), nil
		default:
			return nil, bad
		}
		words = rest[1:]
	}
}

func allOf[T any](ps []predicate[T]) predicate[T] {
	return func(u T) bool {
		for _, p := range ps {
			if !p(u) {
				return false
			}
		}
		return true
	}
}

func anyOf[T any](ps []predicate[T]) predicate[T] {
	return func(u T) bool {
		for _, p := range ps {
			if p(u) {
				return true
			}
		}
		return false
	}
}

// comparison takes one from the front: attribute, operator and, but for pr, a
// quoted value. Texts are compared without regard to case, as UAA does.
func comparison[T any](words []string, known attributes[T]) (predicate[T], []string, bool) {
	if len(words) < 2 {
		return nil, nil, false
	}
	get, ok := known[strings.ToLower(words[0])]
	if !ok {
		return nil, nil, false
	}
	if strings.EqualFold(words[1], "pr") {
		return func(u T) bool { return get(u) != "" }, words[2:], true
	}
	if len(words) < 3 || (words[2][0] != '"' && words[2] != "true" && words[2] != "false") {
		return nil, nil, false
	}
	want := strings.ToLower(strings.TrimPrefix(words[2], `"`))
	var test func(have, want string) bool
	switch strings.ToLower(words[1]) {
	case "eq":
		test = func(have, want string) bool { return have == want }
	case "co":
		test = strings.Contains
	case "sw":
		test = strings.HasPrefix
	default:
		return nil, nil, false
	}
	return func(u T) bool { return test(strings.ToLower(get(u)), want) }, words[3:], true
}

var userAttributes = attributes[cf.User]{
	"id":              func(u cf.User) string { return u.GUID },
	"username":        func(u cf.User) string { return u.UserName },
	"origin":          func(u cf.User) string { return u.Origin },
	"email":           func(u cf.User) string { return u.Email },
	"emails.value":    func(u cf.User) string { return u.Email },
	"givenname":       func(u cf.User) string { return u.GivenName },
	"name.givenname":  func(u cf.User) string { return u.GivenName },
	"familyname":      func(u cf.User) string { return u.FamilyName },
	"name.familyname": func(u cf.User) string { return u.FamilyName },
	"active": func(u cf.User) string {
		if u.Inactive {
			return "false"
		}
		return "true"
	},
}

// splitFilter cuts a filter into words. A quoted value becomes a word that
// begins with its quote and ends without; a backslash takes the next byte as
// it is.
func splitFilter(text string) ([]string, bool) {
	var words []string
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case ' ', '\t':
			i++
		case '"', '\'':
			word := []byte{'"'}
			for i++; ; i++ {
				if i >= len(text) {
					return nil, false
				}
				if text[i] == c {
					break
				}
				if text[i] == '\\' && i+1 < len(text) {
					i++
				}
				word = append(word, text[i])
			}
			i++
			words = append(words, string(word))
		default:
			end := strings.IndexAny(text[i:], " \t\"'")
			if end < 0 {
				end = len(text) - i
			}
			words = append(words, text[i:i+end])
			i += end
		}
	}
	return words, true
}
