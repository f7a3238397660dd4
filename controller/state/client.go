package state

import (
	"context"

	"github.com/stackato/stackato/controller/cf"
)

var clients = newTable[cf.Client]("uaa_clients", unique("id", "ID"))

// Client returns one client of the log-in service.
func (v *View) Client(id string) (cf.Client, bool) { return clients.get(v, "id", id) }

// Clients returns all clients, by id.
func (v *View) Clients() []cf.Client { return clients.list(v, "id") }

var putClient = newCommand("uaa.client.put", 1, func(tx *Tx, in cf.Client) (none, error) {
	clients.put(tx, in)
	return none{}, nil
})

// PutClient adds or replaces a client.
func (s *Store) PutClient(ctx context.Context, c cf.Client) error {
	_, err := putClient.do(ctx, s, c)
	return err
}

var createClient = newCommand("uaa.client.create", 1, func(tx *Tx, in cf.Client) (none, error) {
	if clients.has(tx, "id", in.ID) {
		return none{}, cf.ErrUniqueness.With("Client already exists: %s", in.ID)
	}
	clients.put(tx, in)
	return none{}, nil
})

// CreateClient adds a client, or fails with cf.ErrUniqueness.
func (s *Store) CreateClient(ctx context.Context, c cf.Client) error {
	_, err := createClient.do(ctx, s, c)
	return err
}

var deleteClient = newCommand("uaa.client.delete", 1, func(tx *Tx, in string) (none, error) {
	if clients.remove(tx, "id", in) == 0 {
		return none{}, cf.ErrNotFound.With("No client with requested id: %s", in)
	}
	return none{}, nil
})

// DeleteClient removes a client.
func (s *Store) DeleteClient(ctx context.Context, id string) error {
	_, err := deleteClient.do(ctx, s, id)
	return err
}
