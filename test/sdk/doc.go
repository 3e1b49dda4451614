// Package sdk proves, with the stock Go SDK as the other side, that we speak
// its protocol: what it writes we read, what we write it reads, byte for byte.
//
// It is a module of its own so that the SDK and what it pulls in stay out of
// the program's dependencies. Run it with: cd test/sdk && go test ./...
package sdk
