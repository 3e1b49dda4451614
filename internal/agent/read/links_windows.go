package read

import (
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

// standardInfo is FILE_STANDARD_INFO.
type standardInfo struct {
	AllocationSize, EndOfFile int64
	NumberOfLinks             uint32
	DeletePending, Directory  byte
}

// Links returns how many hard links an open file has: 0 means that it is about to
// be deleted and lives only as long as it is open. Where that is not known it is 1.
func Links(f *os.File) (uint64, error) {
	var info standardInfo
	err := windows.GetFileInformationByHandleEx(windows.Handle(f.Fd()), windows.FileStandardInfo,
		(*byte)(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
	if err != nil {
		return 0, &os.PathError{Op: "GetFileInformationByHandleEx", Path: f.Name(), Err: err}
	}
	if info.DeletePending != 0 {
		return 0, nil
	}
	return uint64(info.NumberOfLinks), nil
}
