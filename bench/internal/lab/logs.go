//go:build linux

package lab

import (
	"bufio"
	"errors"
	"io"
	"math"
	"os"
	"time"

	"logtail/internal/agent/aggregate"
	"logtail/internal/agent/event"
	"logtail/internal/agent/process"
	"logtail/internal/delivery"
	"logtail/internal/loggen"
	"logtail/internal/pipeline"
	"logtail/internal/sls"
)

// chunkSize is what the agent reads at a turn.
const chunkSize = 512 << 10

// WriteLogs writes whole records to a file until it has so many records or at
// least so many bytes (0: no limit), and returns how many of both it wrote.
func WriteLogs(path string, g *loggen.Gen, records, size int64) (gotRecords, gotSize int64, err error) {
	if records == 0 {
		records = math.MaxInt64
	}
	if size == 0 {
		size = math.MaxInt64
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	var buf []byte
	for gotRecords < records && gotSize < size {
		buf = g.AppendLine(buf[:0])
		if _, err := w.Write(buf); err != nil {
			return 0, 0, err
		}
		gotRecords++
		gotSize += int64(len(buf))
	}
	if err := w.Flush(); err != nil {
		return 0, 0, err
	}
	return gotRecords, gotSize, f.Close()
}

// EachGroup makes log groups of a file as the agent's worker does, by the same
// steps, without compression. record, if it is not nil, sees each record; group
// gets each encoded group, which is valid during the call, with the offset at
// which it ends in the file. It says whether to go on. A record that the
// pipeline drops is an error.
func EachGroup(yaml []byte, path string, record func(*event.Record), group func(encoded []byte, end int64) bool) error {
	p, err := pipeline.Parse("bench", yaml)
	if err != nil {
		return err
	}
	splitter, err := process.NewSplitter(p.Inputs[0].File.Multiline, chunkSize)
	if err != nil {
		return err
	}
	chain, err := process.New(p, process.Options{})
	if err != nil {
		return err
	}
	w := &grouper{record: record, emit: group}
	b := p.Flushers[0].Batch
	w.limits.AtMost(b.MinCnt, b.MinSizeBytes, time.Duration(b.TimeoutSecs)*time.Second)
	w.trailer = sls.AppendTag(sls.AppendTag(sls.AppendSource(nil, "192.0.2.1"), "__hostname__", "bench"), "__path__", path)

	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	w.batch.NowSec, w.batch.NowNsec = uint32(time.Now().Unix()), -1
	w.group.Open(delivery.Point{}, time.Now())
	buf := make([]byte, chunkSize)
	for pos := int64(0); pos < fi.Size(); {
		n, err := f.ReadAt(buf, pos)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		var mode process.Mode
		if pos+int64(n) == fi.Size() {
			mode = process.Final
		}
		begin := pos
		for {
			w.batch.Reset()
			m, _ := splitter.Split(&w.batch, buf[pos-begin:n], uint64(pos), mode)
			if m == 0 {
				break
			}
			chain.Run(&w.batch)
			pos += int64(m)
			if more, err := w.add(); err != nil || !more {
				return err
			}
		}
		if pos == begin {
			return errors.New("a record is longer than a read")
		}
	}
	if w.group.Logs > 0 {
		w.seal(uint64(fi.Size()))
	}
	return nil
}

// grouper gathers the records of batches.
type grouper struct {
	batch   event.Batch
	group   aggregate.Group
	limits  aggregate.Limits
	trailer []byte
	record  func(*event.Record)
	emit    func(encoded []byte, end int64) bool
}

func (w *grouper) add() (more bool, err error) {
	for i := range w.batch.Records {
		r := &w.batch.Records[i]
		if r.Drop != event.Kept {
			return false, errors.New("a record was dropped: " + string(r.Raw))
		}
		if w.record != nil {
			w.record(r)
		}
		w.group.Add(r, w.limits.Nanos)
		if w.group.Full(&w.limits) && !w.seal(r.End) {
			return false, nil
		}
	}
	return true, nil
}

func (w *grouper) seal(end uint64) (more bool) {
	encoded, _ := w.group.Seal(w.trailer)
	more = w.emit(encoded, int64(end))
	w.group.Open(delivery.Point{End: end}, time.Now())
	return more
}
