package logcache

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"

	"github.com/stackato/stackato/wire/logs"
)

// Bounds of log-cache.
const (
	defaultLimit = 100
	maxLimit     = 1000
	maxSourceID  = 256
)

// envelopeTypes are the names of the protocol; their numbers are accepted too.
var envelopeTypes = []string{"ANY", "LOG", "COUNTER", "GAUGE", "TIMER", "EVENT"}

// query is what a read asks for.
type query struct {
	logs.ReadRequest
	wantsLogs bool // and not only metrics, of which there are none
}

func invalid(format string, args ...any) error {
	return &statusError{codeInvalidArgument, fmt.Sprintf(format, args...)}
}

// parseQuery reads the parameters of a read. Unknown ones are ignored, as
// log-cache does.
func parseQuery(sourceID string, v url.Values) (query, error) {
	if sourceID == "" || len(sourceID) > maxSourceID {
		return query{}, invalid("the path must end with the GUID of an app")
	}
	if v.Get("name_filter") != "" {
		return query{}, invalid("name_filter is not supported: it selects metrics, and only logs are kept; leave it out")
	}
	q := query{ReadRequest: logs.ReadRequest{AppGUID: sourceID}}
	limit := int64(0)
	for name, to := range map[string]*int64{"start_time": &q.Start, "end_time": &q.End, "limit": &limit} {
		if err := parseInt(v, name, to); err != nil {
			return query{}, err
		}
	}
	switch {
	case limit < 0:
		return query{}, invalid("limit (%d) must be greater than zero", limit)
	case limit > maxLimit:
		return query{}, invalid("limit (%d) must be %d or less", limit, maxLimit)
	case limit == 0:
		limit = defaultLimit
	}
	q.Limit = int(limit)
	if q.End != 0 && q.Start > q.End {
		return query{}, invalid("start_time (%d) must be before end_time (%d)", q.Start, q.End)
	}
	if s := v.Get("descending"); s != "" {
		var err error
		if q.Descending, err = strconv.ParseBool(s); err != nil {
			return query{}, invalid("descending: %.40q is neither true nor false", s)
		}
	}
	var err error
	q.wantsLogs, err = wantsLogs(v["envelope_types"])
	return q, err
}

func parseInt(v url.Values, name string, to *int64) error {
	s := v.Get(name)
	if s == "" {
		return nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return invalid("%s: %.40q is no number of 64 bits", name, s)
	}
	*to = n
	return nil
}

// wantsLogs says whether logs are among the types; no type means any.
func wantsLogs(types []string) (bool, error) {
	wanted := len(types) == 0
	for _, name := range types {
		i := slices.Index(envelopeTypes, name)
		if n, err := strconv.Atoi(name); err == nil && n >= 0 && n < len(envelopeTypes) {
			i = n
		}
		if i < 0 {
			return false, invalid("envelope_types: %.40q is not one of %q", name, envelopeTypes)
		}
		wanted = wanted || envelopeTypes[i] == "ANY" || envelopeTypes[i] == "LOG"
	}
	return wanted, nil
}
