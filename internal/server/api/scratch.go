package api

import (
	"context"
	"time"

	"logtail/internal/sls"
)

// scratch is what decoding a log group takes: up to Limits.GroupBytes for the
// decompressed group and about as much for its logs. There are as many as
// groups may be decoded at a time, which also bounds their memory.
type scratch struct {
	raw   []byte
	group sls.LogGroup
	pack  sls.Compressor
}

// keepScratch is the largest buffer that is kept for the next group; usual
// groups are half a megabyte.
const keepScratch = 2 << 20

// takeScratch waits for a free scratch.
func (h *Handler) takeScratch(ctx context.Context) (*scratch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case sc := <-h.scratch:
		return sc, nil
	default:
	}
	timer := time.NewTimer(h.Limits.QueueTime)
	defer timer.Stop()
	select {
	case sc := <-h.scratch:
		return sc, nil
	case <-timer.C:
		return nil, sls.NewError(sls.CodeServerBusy, "the service is busy decoding log groups; try again")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (h *Handler) giveScratch(sc *scratch) {
	if cap(sc.raw) > keepScratch {
		*sc = scratch{}
	}
	h.scratch <- sc
}

// decompress returns the raw log group, valid until the next call.
func (sc *scratch) decompress(data []byte, t sls.CompressType, rawSize, maxSize int) ([]byte, error) {
	var err error
	sc.raw, err = sls.Decompress(sc.raw[:0], data, t, rawSize, maxSize)
	return sc.raw, err
}
