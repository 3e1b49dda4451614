package server

import "errors"

// openEngines opens the embedded engines in the data folder.
func openEngines(o Options) (engines, error) {
	return engines{}, errors.New("no engines yet")
}
