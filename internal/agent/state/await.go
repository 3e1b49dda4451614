package state

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// Await waits until no agent uses the folder dir, for at most wait or until ctx
// ends, and says whether that is so. busy is called once, if there is something to
// wait for. An agent whose supervisor was killed needs a few seconds to stop.
func Await(ctx context.Context, dir string, wait time.Duration, busy func()) bool {
	lock, err := os.Open(filepath.Join(dir, lockName))
	if err != nil {
		return true // nobody has used it, or Open says what is wrong
	}
	defer lock.Close()
	const step = 200 * time.Millisecond
	for waited := time.Duration(0); ; waited += step {
		err := lockFile(lock, true, min(step, wait-waited))
		if !errors.Is(err, errLocked) {
			return true
		}
		if waited == 0 {
			busy()
		}
		if waited+step >= wait || ctx.Err() != nil {
			return false
		}
	}
}
