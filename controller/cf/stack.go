package cf

// Stack is an image that containers of apps are made from.
type Stack struct {
	Resource
	Metadata
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Default     bool   `json:"default,omitempty"`
}
