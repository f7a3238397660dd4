package api

import "encoding/json"

// optional is a field of a body that can be missing, null or a value: null is
// set with the zero value.
type optional[T any] struct {
	set   bool
	value T
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *optional[T]) UnmarshalJSON(data []byte) error {
	o.set = true
	if string(data) == "null" {
		return nil
	}
	return json.Unmarshal(data, &o.value)
}
