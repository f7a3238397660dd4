package table

import (
	"hash/maphash"
	"iter"
	"maps"
	"strings"
	"sync/atomic"
)

// shardCount is how many parts an index has. One change copies one part: with
// 100,000 hosts a hundred of them.
const shardCount = 1024

// index finds the routes of a host. Reading takes no lock.
type index struct {
	seed   maphash.Seed
	shards [shardCount]atomic.Pointer[shard]
	hosts  atomic.Int64
}

type shard = map[string]*hostRoutes

// hostRoutes is a host with its routes by path. It does not change.
type hostRoutes struct {
	root    *Route            // the path ""
	paths   map[string]*Route // the others
	longest int               // length of the longest key of paths
}

func newIndex() *index { return &index{seed: maphash.MakeSeed()} }

func (x *index) shardOf(host string) int {
	return int(maphash.String(x.seed, host) % shardCount)
}

func (x *index) get(host string) *hostRoutes {
	s := x.shards[x.shardOf(host)].Load()
	if s == nil {
		return nil
	}
	return (*s)[host]
}

func (x *index) all() iter.Seq[*Route] {
	return func(yield func(*Route) bool) {
		for i := range x.shards {
			s := x.shards[i].Load()
			if s == nil {
				continue
			}
			for _, h := range *s {
				if h.root != nil && !yield(h.root) {
					return
				}
				for _, r := range h.paths {
					if !yield(r) {
						return
					}
				}
			}
		}
	}
}

// match returns the route with the longest path that is path or leads to it by
// whole segments. The work is bounded by the longest path of a route, not by
// that of the request.
func (h *hostRoutes) match(path string) *Route {
	if len(h.paths) == 0 {
		return h.root
	}
	if len(path) > h.longest {
		path = path[:h.longest+1]
		i := strings.LastIndexByte(path, '/')
		if i < 0 {
			return h.root
		}
		path = path[:i]
	}
	path = strings.ToLower(path)
	for path != "" {
		if r := h.paths[path]; r != nil {
			return r
		}
		i := strings.LastIndexByte(path, '/')
		if i < 0 {
			break
		}
		path = path[:i]
	}
	return h.root
}

// clone returns a copy that can be changed. h may be nil.
func (h *hostRoutes) clone() *hostRoutes {
	if h == nil {
		return &hostRoutes{}
	}
	return &hostRoutes{root: h.root, paths: maps.Clone(h.paths), longest: h.longest}
}

// at returns the route with exactly this path.
func (h *hostRoutes) at(path string) *Route {
	if path == "" {
		return h.root
	}
	return h.paths[path]
}

// put changes h: r at path; nil removes.
func (h *hostRoutes) put(path string, r *Route) {
	switch {
	case path == "":
		h.root = r
	case r != nil:
		if h.paths == nil {
			h.paths = map[string]*Route{}
		}
		h.paths[path] = r
		h.longest = max(h.longest, len(path))
	default:
		delete(h.paths, path)
		if len(path) == h.longest {
			h.longest = 0
			for p := range h.paths {
				h.longest = max(h.longest, len(p))
			}
		}
	}
}

// edit collects changes of an index, each shard and host copied once, and
// publishes them. Only one edit of an index may be open.
type edit struct {
	index  *index
	shards map[int]shard
	own    map[*hostRoutes]bool // made by this edit, can be changed
	fresh  bool                 // starts from nothing
}

func (x *index) edit(fresh bool) *edit {
	return &edit{index: x, shards: map[int]shard{}, own: map[*hostRoutes]bool{}, fresh: fresh}
}

func (e *edit) shard(host string) shard {
	i := e.index.shardOf(host)
	s, ok := e.shards[i]
	if ok {
		return s
	}
	if old := e.index.shards[i].Load(); old != nil && !e.fresh {
		s = maps.Clone(*old)
	} else {
		s = shard{}
	}
	e.shards[i] = s
	return s
}

// set puts r under host and path; nil removes. It returns what was there.
func (e *edit) set(host, path string, r *Route) (old *Route) {
	s := e.shard(host)
	h := s[host]
	if h == nil && r == nil {
		return nil
	}
	if !e.own[h] {
		h = h.clone()
		e.own[h] = true
	}
	old = h.at(path)
	h.put(path, r)
	if h.root == nil && len(h.paths) == 0 {
		delete(s, host)
	} else {
		s[host] = h
	}
	return old
}

func (e *edit) publish() {
	if e.fresh {
		for i := range e.index.shards {
			e.replace(i, e.shards[i])
		}
		return
	}
	for i, s := range e.shards {
		e.replace(i, s)
	}
}

func (e *edit) replace(i int, s shard) {
	before := 0
	if old := e.index.shards[i].Load(); old != nil {
		before = len(*old)
	}
	if len(s) == 0 {
		e.index.shards[i].Store(nil)
	} else {
		e.index.shards[i].Store(&s)
	}
	e.index.hosts.Add(int64(len(s) - before))
}
