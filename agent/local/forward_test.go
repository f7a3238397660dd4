package local

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

func TestForward(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	var logTwo logBuffer
	two := NewHandler(&fake{
		info: Info{Name: "n2"},
		rotate: func(_ context.Context, _ RotateWhat, p Progress) (RotateResult, error) {
			p(Step{Name: "far", State: StepDone})
			return RotateResult{KeyID: "k2"}, nil
		},
		forward: func(context.Context, string, ForwardRequest) (ForwardResponse, error) {
			t.Error("forwarded again")
			return ForwardResponse{}, nil
		},
	}, slog.New(slog.NewTextHandler(&logTwo, nil)))
	one := &fake{info: Info{Name: "n1", ID: "id1", Address: "10.0.0.1"}}
	one.forward = func(ctx context.Context, name string, r ForwardRequest) (ForwardResponse, error) {
		if name != "n2" {
			return ForwardResponse{}, Errorf(CodeNotFound, "", "no node %q", name)
		}
		b, err := json.Marshal(r) // what RPC does with it
		if err != nil {
			return ForwardResponse{}, err
		}
		var far ForwardRequest
		if err := json.Unmarshal(b, &far); err != nil {
			return ForwardResponse{}, err
		}
		return Invoke(ctx, two, far)
	}
	c, _, _ := start(t, one)

	if i, err := c.OnNode("n2").Info(t.Context()); err != nil || i.Name != "n2" {
		t.Errorf("Info of n2: %+v, %v", i, err)
	}
	for _, self := range []string{"n1", "id1", "10.0.0.1"} {
		if i, err := c.OnNode(self).Info(t.Context()); err != nil || i.Name != "n1" {
			t.Errorf("Info of %s: %+v, %v", self, i, err)
		}
	}
	var steps []Step
	out, err := c.OnNode("n2").ForCommand("kato rotate ca").Rotate(t.Context(), RotateCA, func(s Step) { steps = append(steps, s) })
	if err != nil || out.KeyID != "k2" || len(steps) != 1 {
		t.Errorf("Rotate on n2: %+v, %v, steps %v", out, err, steps)
	}
	for _, want := range []string{fmt.Sprintf(`who="uid %d on n1"`, os.Getuid()), `command="kato rotate ca"`} {
		if !strings.Contains(logTwo.String(), want) {
			t.Errorf("audit of n2 lacks %s: %s", want, &logTwo)
		}
	}
	if _, err := c.OnNode("n9").Info(t.Context()); code(err) != CodeNotFound {
		t.Errorf("unknown node: %v", err)
	}
	if _, err := c.OnNode("n2").Join(t.Context(), JoinRequest{}, nil); code(err) != CodeInvalid {
		t.Errorf("join through another node: %v", err)
	}
	// A forwarded request is not sent on, whatever its headers say.
	loop := httptest.NewRequest(http.MethodGet, "/v1/info", nil)
	loop.Header.Set(HeaderNode, "n3")
	w := httptest.NewRecorder()
	NewHandler(&fake{}, logger).ServeHTTP(w, loop.WithContext(context.WithValue(t.Context(), originKey{}, "uid 0 on n2")))
	if w.Code != http.StatusBadRequest {
		t.Errorf("forwarded twice: %d %s", w.Code, w.Body)
	}
}

func TestInvokeBoundsTheAnswer(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, maxForwarded))
		_, _ = io.WriteString(w, "more")
	})
	if _, err := Invoke(t.Context(), h, ForwardRequest{Method: "GET", Path: "/"}); code(err) != CodeInternal {
		t.Errorf("got %v", err)
	}
	if _, err := Invoke(t.Context(), h, ForwardRequest{Method: "G T", Path: "/"}); code(err) != CodeInvalid {
		t.Errorf("bad method: %v", err)
	}
}
