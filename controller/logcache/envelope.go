package logcache

import "github.com/stackato/stackato/wire/logs"

// The following are loggregator's envelopes in protobuf's JSON: 64-bit numbers
// are strings, bytes are base64.
type (
	readResponse struct {
		Envelopes batch `json:"envelopes"`
	}
	batch struct {
		Batch []envelope `json:"batch"`
	}
	envelope struct {
		Timestamp  int64   `json:"timestamp,string"`
		SourceID   string  `json:"source_id"`
		InstanceID string  `json:"instance_id"`
		Tags       tags    `json:"tags"`
		Log        message `json:"log"`
	}
	tags struct {
		SourceType string `json:"source_type"`
	}
	message struct {
		Payload []byte `json:"payload"`
		Type    string `json:"type"` // OUT or ERR
	}
)

// present returns the body of an answer with lines.
func present(lines []logs.Line) readResponse {
	out := readResponse{batch{make([]envelope, 0, len(lines))}}
	for _, l := range lines {
		e := envelope{
			Timestamp: l.Time, SourceID: l.AppGUID, InstanceID: l.InstanceID,
			Tags: tags{l.SourceType}, Log: message{l.Message, "OUT"},
		}
		if e.Log.Payload == nil {
			e.Log.Payload = []byte{} // null is no bytes to some clients
		}
		if l.Err {
			e.Log.Type = "ERR"
		}
		out.Envelopes.Batch = append(out.Envelopes.Batch, e)
	}
	return out
}
