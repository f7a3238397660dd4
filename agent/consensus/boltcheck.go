package consensus

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"math/bits"
)

// bbolt has no checksums on its pages and trusts what it reads: on a damaged
// file it panics, some of it in goroutines of its own, or reads beyond its
// memory map. So the file is checked here before bbolt sees it: every page
// that can be reached, with its bounds, the order of keys and the exact
// packing of each page, so that a wrong count cannot hide an entry.
//
// The layout is that of bbolt's file format, version 2.

const (
	boltMagic      = 0xED0CDAED
	boltVersion    = 2
	boltPageHeader = 16 // id, flags, count, overflow
	boltElement    = 16
	boltMetaSum    = 56 // offset of the checksum in a meta page
	boltBranch     = 0x01
	boltLeaf       = 0x02
	boltFreelist   = 0x10
	boltNoFreelist = 1<<64 - 1
	boltMaxDepth   = 32
)

// boltChecker walks a bbolt file.
type boltChecker struct {
	file     io.ReaderAt
	size     int64
	pageSize int64
	end      uint64 // first page number that is not in use
	seen     map[uint64]bool
	// visit is called for each key and value; bucket is "" at the root.
	visit func(bucket string, key, value []byte) error
}

type boltMeta struct {
	magic, version            uint32
	pageSize                  int64
	root, freelist, end, txid uint64
}

// checkBolt returns what is wrong with the file, nil if nothing is.
func checkBolt(file io.ReaderAt, size int64, visit func(bucket string, key, value []byte) error) error {
	c := &boltChecker{file: file, size: size, seen: map[uint64]bool{0: true, 1: true}, visit: visit}
	first, err := c.meta(0)
	if err != nil {
		return err
	}
	second, err := c.meta(first.pageSize)
	if err != nil {
		return err
	}
	if first.pageSize != second.pageSize {
		return fmt.Errorf("its meta pages name page sizes %d and %d", first.pageSize, second.pageSize)
	}
	m := first
	if second.txid > first.txid {
		m = second
	}
	c.pageSize, c.end = m.pageSize, m.end
	if err := c.tree("", m.root, nil, nil, 0); err != nil {
		return err
	}
	if m.freelist == boltNoFreelist {
		return nil
	}
	return c.freelist(m.freelist)
}

// meta reads a meta page. Both have to be right: bbolt would go on with the
// other one, which is one commit behind. A meta page is smaller than a disk
// sector, so a power cut does not leave half of it.
func (c *boltChecker) meta(offset int64) (boltMeta, error) {
	var b [boltPageHeader + boltMetaSum + 8]byte
	if _, err := c.file.ReadAt(b[:], offset); err != nil {
		return boltMeta{}, fmt.Errorf("its meta page at offset %d cannot be read: %w", offset, err)
	}
	p := b[boltPageHeader:]
	h := fnv.New64a()
	h.Write(p[:boltMetaSum])
	m := boltMeta{
		magic: u32(p), version: u32(p[4:]), pageSize: int64(u32(p[8:])),
		root: u64(p[16:]), freelist: u64(p[32:]), end: u64(p[40:]), txid: u64(p[48:]),
	}
	switch {
	case m.magic != boltMagic || m.version != boltVersion:
		return m, fmt.Errorf("its meta page at offset %d is not one", offset)
	case u64(p[boltMetaSum:]) != h.Sum64():
		return m, fmt.Errorf("the checksum of its meta page at offset %d does not fit", offset)
	case m.pageSize < 512 || m.pageSize > 1<<16 || bits.OnesCount64(uint64(m.pageSize)) != 1:
		return m, fmt.Errorf("its page size is %d", m.pageSize)
	}
	return m, nil
}

// page reads a page with its overflow and claims it.
func (c *boltChecker) page(id uint64) ([]byte, error) {
	var h [boltPageHeader]byte
	if id < 2 || id >= c.end || int64(id) > c.size/c.pageSize {
		return nil, fmt.Errorf("page %d is out of bounds", id)
	}
	if _, err := c.file.ReadAt(h[:], int64(id)*c.pageSize); err != nil {
		return nil, fmt.Errorf("page %d cannot be read: %w", id, err)
	}
	pages := uint64(u32(h[12:])) + 1
	if u64(h[:]) != id || id+pages > c.end || int64(id+pages)*c.pageSize > c.size {
		return nil, fmt.Errorf("page %d has a wrong header", id)
	}
	for i := id; i < id+pages; i++ {
		if c.seen[i] {
			return nil, fmt.Errorf("page %d is used twice", i)
		}
		c.seen[i] = true
	}
	buf := make([]byte, int64(pages)*c.pageSize)
	if _, err := c.file.ReadAt(buf, int64(id)*c.pageSize); err != nil {
		return nil, fmt.Errorf("page %d cannot be read: %w", id, err)
	}
	return buf, nil
}

// tree checks the pages below id, whose keys have to be in [low, high).
func (c *boltChecker) tree(bucket string, id uint64, low, high []byte, depth int) error {
	if depth > boltMaxDepth {
		return fmt.Errorf("page %d lies too deep", id)
	}
	buf, err := c.page(id)
	if err != nil {
		return err
	}
	if err := c.node(bucket, buf, low, high, depth); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

// node checks one branch or leaf and all below it.
func (c *boltChecker) node(bucket string, buf, low, high []byte, depth int) error {
	flags, count := u16(buf[8:]), int(u16(buf[10:]))
	if flags != boltBranch && flags != boltLeaf || flags == boltBranch && count == 0 {
		return fmt.Errorf("has type %#x and %d elements", flags, count)
	}
	elems, err := elements(buf, flags == boltLeaf, count)
	if err != nil {
		return err
	}
	for i, e := range elems {
		next := high
		if i+1 < count {
			next = elems[i+1].key
		}
		if i == 0 && bytes.Compare(e.key, low) < 0 || i > 0 && bytes.Compare(e.key, low) <= 0 || next != nil && bytes.Compare(e.key, next) >= 0 {
			return fmt.Errorf("element %d is out of order", i)
		}
		low = e.key
		switch {
		case flags == boltBranch:
			err = c.tree(bucket, e.child, e.key, next, depth+1)
		case e.flags == 1:
			err = c.bucket(string(e.key), e.value, depth)
		case e.flags == 0:
			err = c.visit(bucket, e.key, e.value)
		default:
			err = fmt.Errorf("element %d has type %#x", i, e.flags)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type boltElem struct {
	flags      uint32 // leaf
	child      uint64 // branch
	key, value []byte
}

// elements takes a page apart. Elements are packed without gaps in between.
func elements(buf []byte, leaf bool, count int) ([]boltElem, error) {
	out := make([]boltElem, count)
	offset := boltPageHeader + count*boltElement
	for i := range out {
		at := boltPageHeader + i*boltElement
		if at+boltElement > len(buf) {
			return nil, fmt.Errorf("has no room for %d elements", count)
		}
		e := buf[at:]
		var pos, ksize, vsize uint32
		if leaf {
			out[i].flags, pos, ksize, vsize = u32(e), u32(e[4:]), u32(e[8:]), u32(e[12:])
		} else {
			pos, ksize, out[i].child = u32(e), u32(e[4:]), u64(e[8:])
		}
		end := int64(offset) + int64(ksize) + int64(vsize)
		if int64(at)+int64(pos) != int64(offset) || end > int64(len(buf)) {
			return nil, fmt.Errorf("element %d is not where it should be", i)
		}
		out[i].key = buf[offset : offset+int(ksize)]
		out[i].value = buf[offset+int(ksize) : end]
		offset = int(end)
	}
	return out, nil
}

// bucket checks a nested bucket: its own tree, or a small page inside value.
func (c *boltChecker) bucket(name string, value []byte, depth int) error {
	if len(value) < 16 {
		return fmt.Errorf("bucket %q has no header", name)
	}
	if root := u64(value); root != 0 {
		return c.tree(name, root, nil, nil, depth+1)
	}
	inline := value[16:]
	if len(inline) < boltPageHeader || u16(inline[8:]) != boltLeaf {
		return fmt.Errorf("bucket %q is not a page", name)
	}
	return c.node(name, inline, nil, nil, depth+1)
}

// freelist checks that no page in use is listed as free.
func (c *boltChecker) freelist(id uint64) error {
	buf, err := c.page(id)
	if err != nil {
		return fmt.Errorf("list of free pages: %w", err)
	}
	list, count := buf[boltPageHeader:], uint64(u16(buf[10:]))
	if count == 0xFFFF && len(list) >= 8 {
		count, list = u64(list), list[8:]
	}
	if u16(buf[8:]) != boltFreelist || count > uint64(len(list)/8) {
		return fmt.Errorf("the list of free pages (page %d) is not one", id)
	}
	for i := range count {
		if free := u64(list[8*i:]); free >= c.end || c.seen[free] {
			return fmt.Errorf("page %d is in use and listed as free", free)
		}
	}
	return nil
}

// bbolt writes numbers as the machine has them.
func u16(b []byte) uint16 { return binary.NativeEndian.Uint16(b) }
func u32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }
func u64(b []byte) uint64 { return binary.NativeEndian.Uint64(b) }
