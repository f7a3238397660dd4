package state

import (
	"time"

	"github.com/hashicorp/go-memdb"

	"github.com/stackato/stackato/controller/cf"
)

// bounded is a table with the index "created" that forgets its oldest rows.
type bounded[T any] struct {
	table[T]
	resource func(*T) cf.Resource
	life     time.Duration // of a row
	most     int           // rows
}

// tableSize is how many rows a bounded table holds.
type tableSize struct {
	Table string `json:"table"`
	Rows  int    `json:"rows"`
}

var tableSizes = newTable[tableSize]("cf_table_sizes",
	&memdb.IndexSchema{Name: "id", Unique: true, Indexer: &memdb.StringFieldIndex{Field: "Table"}})

// add inserts a new row, and removes what is too old or too much, but no more
// than 100 rows at once, so that no command becomes long.
func (b bounded[T]) add(tx *Tx, row T) {
	size, _ := tableSizes.get(tx, "id", b.name)
	before := b.resource(&row).CreatedAt.Add(-b.life)
	var doomed []string
	for old := range b.each(tx, "created_prefix", "") {
		r := b.resource(&old)
		if len(doomed) == 100 || !r.CreatedAt.Before(before) && size.Rows-len(doomed) < b.most {
			break
		}
		doomed = append(doomed, r.GUID)
	}
	for _, guid := range doomed {
		b.remove(tx, "id", guid)
	}
	b.put(tx, row)
	tableSizes.put(tx, tableSize{b.name, size.Rows - len(doomed) + 1})
}
