package proxy

import (
	"context"
	"log/slog"
	"time"

	"github.com/stackato/stackato/wire/logs"
)

// maxLines is how many lines may wait to be written. More are dropped: requests
// do not wait for a disk.
const maxLines = 8192

// lineLog writes lines of the access log from one goroutine.
type lineLog struct {
	file     AccessLog
	log      func(logs.Line)
	instance string
	metrics  *Metrics
	logger   *slog.Logger
	queue    chan record
	silent   time.Time // no complaint about the file before
}

func newLineLog(p *Proxy) *lineLog {
	return &lineLog{
		file: p.cfg.AccessLog, log: p.cfg.Log, instance: p.cfg.InstanceID,
		metrics: p.metrics, logger: p.log, queue: make(chan record, maxLines),
	}
}

func (l *lineLog) add(r record) {
	select {
	case l.queue <- r:
	default:
		l.metrics.dropped.Inc()
	}
}

func (l *lineLog) run(ctx context.Context) {
	defer l.flush()
	for {
		select {
		case r := <-l.queue:
			l.write(r)
			if len(l.queue) == 0 {
				l.flush()
			}
		case <-ctx.Done():
			for len(l.queue) > 0 {
				l.write(<-l.queue)
			}
			return
		}
	}
}

func (l *lineLog) write(r record) {
	if l.file != nil {
		l.complain(l.file.WriteLine(r.line))
	}
	if l.log != nil && r.app != "" {
		l.log(r.logLine(l.instance))
	}
}

func (l *lineLog) flush() {
	if l.file != nil {
		l.complain(l.file.Flush())
	}
}

// complain says that the access log cannot be written, once a minute.
func (l *lineLog) complain(err error) {
	if err == nil || time.Now().Before(l.silent) {
		return
	}
	l.silent = time.Now().Add(time.Minute)
	l.logger.Error("access log is not written, check the disk", "err", err)
}
