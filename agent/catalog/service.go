package catalog

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/stackato/stackato/agent/node"
)

// IDPrefix begins the id of every entry that a Registrar keeps.
const IDPrefix = "stackato-"

// metaSpec is the key of an entry's metadata that holds the digest of what was
// registered: an entry with another one is registered anew.
const metaSpec = "stackato-spec"

// Defaults of a Service's check.
const (
	DefaultCheckInterval = 5 * time.Second
	// DefaultDeregisterAfter is long: it cleans up after an agent that is
	// gone for good while Consul still runs. A living one registers again.
	DefaultDeregisterAfter = time.Hour

	checkTimeout = 2 * time.Second
)

// Service is one entry of this node. Its id is IDPrefix and the name.
type Service struct {
	Name    string // 1 to 63 of a-z, 0-9 and -: it is a DNS name
	Address string // where others reach it; "" is the Consul node's address
	Port    int    // 0 for a service without a port
	Tags    []string
	// CheckURL is asked with GET; 2xx is passing, 429 a warning, everything
	// else critical. It is required: an entry without a check is always
	// taken for healthy.
	CheckURL        string
	CheckInterval   time.Duration // default DefaultCheckInterval
	DeregisterAfter time.Duration // critical for that long; default DefaultDeregisterAfter; at least 1 min
}

// ID returns the id of the entry.
func (s Service) ID() string { return IDPrefix + s.Name }

// Validate names the first field that cannot be.
func (s Service) Validate() error {
	if node.CheckName(s.Name) != nil {
		return fmt.Errorf("service name %.70q is not a DNS label", s.Name)
	}
	if s.Port < 0 || s.Port > 65535 {
		return fmt.Errorf("service %s: port %d is not between 0 and 65535", s.Name, s.Port)
	}
	if u, err := url.Parse(s.CheckURL); err != nil || u.Scheme != "http" || u.Host == "" {
		return fmt.Errorf("service %s: check %.100q is not an http URL", s.Name, s.CheckURL)
	}
	if s.CheckInterval < 0 || s.DeregisterAfter < 0 {
		return fmt.Errorf("service %s: a time is negative", s.Name)
	}
	return nil
}

// registration is what the Consul agent is told.
func (s Service) registration() *api.AgentServiceRegistration {
	r := &api.AgentServiceRegistration{
		ID: s.ID(), Name: s.Name, Address: s.Address, Port: s.Port, Tags: slices.Sorted(slices.Values(s.Tags)),
		Check: &api.AgentServiceCheck{
			CheckID: checkID(s.ID()), Name: "role " + s.Name, HTTP: s.CheckURL, Method: "GET",
			Interval:                       cmp.Or(s.CheckInterval, DefaultCheckInterval).String(),
			Timeout:                        checkTimeout.String(),
			Status:                         api.HealthCritical, // until it was asked
			DeregisterCriticalServiceAfter: cmp.Or(s.DeregisterAfter, DefaultDeregisterAfter).String(),
		},
	}
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings and numbers only
	}
	sum := sha256.Sum256(b)
	r.Meta = map[string]string{metaSpec: hex.EncodeToString(sum[:8])}
	return r
}

func checkID(serviceID string) string { return "service:" + serviceID }

// byID keys the services that can be by their id; the error tells of the others.
func byID(list []Service) (map[string]Service, error) {
	out := make(map[string]Service, len(list))
	var errs []error
	for _, s := range list {
		if err := s.Validate(); err != nil {
			errs = append(errs, err)
			continue
		}
		if _, dup := out[s.ID()]; dup {
			errs = append(errs, fmt.Errorf("service %s is named twice", s.Name))
			continue
		}
		out[s.ID()] = s
	}
	return out, errors.Join(errs...)
}

func sortedIDs[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
