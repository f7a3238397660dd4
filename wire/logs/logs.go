// Package logs holds log lines as nodes keep and controllers gather them.
package logs

// Source types that Cloud Foundry's clients show. An app's line has
// "APP/PROC/WEB", a task's "APP/TASK/<name>".
const (
	SourceStaging    = "STG"
	SourceRouter     = "RTR"
	SourceAPI        = "API"
	SourceCell       = "CELL"
	SourceAppProcess = "APP/PROC/"
	SourceAppTask    = "APP/TASK/"
)

// Line is one line of an app's log.
type Line struct {
	Time       int64  `json:"t"`             // Unix nanoseconds; grows strictly within one app on one node
	AppGUID    string `json:"app"`           //
	SourceType string `json:"src"`           // see above
	InstanceID string `json:"id,omitempty"`  // the index
	Err        bool   `json:"err,omitempty"` // standard error
	Message    []byte `json:"msg"`           // without the newline; at most MaxLine bytes
}

// MaxLine bounds a line, in bytes. Longer ones are cut, with a mark.
const MaxLine = 60 << 10

// ReadRequest asks a node for lines of an app: Start ≤ Time < End. Both are
// Unix nanoseconds; End 0 is no bound.
type ReadRequest struct {
	AppGUID    string `json:"app_guid"`
	Start      int64  `json:"start"`
	End        int64  `json:"end"`
	Limit      int    `json:"limit"` // of lines; at most 1000
	Descending bool   `json:"descending"`
}

// ReadResponse holds the lines, in the order asked for. With Limit reached it
// is the newest ones if Descending, else the oldest.
type ReadResponse struct {
	Lines []Line `json:"lines"`
	// More: the answer would have grown too large, so it has fewer lines than
	// Limit although there are more behind the last one.
	More bool `json:"more,omitempty"`
}
