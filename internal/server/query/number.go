package query

import (
	"cmp"
	"math"
	"strconv"
	"unsafe"
)

// Number is an integer of 64 bits or, where that does not hold the value, a
// floating-point number. A Float is never an integer that Int could hold, so
// equal numbers are equal structs.
type Number struct {
	IsInt bool
	Int   int64   // if IsInt
	Float float64 // if not IsInt; finite
}

// IntNumber is the Number of an integer.
func IntNumber(v int64) Number { return Number{IsInt: true, Int: v} }

// ParseNumber reads a decimal number: an optional sign, digits, an optional
// fraction and an optional exponent. It reports false for anything else (also
// for hexadecimal, infinities, NaN and spaces) and for numbers beyond float64.
func ParseNumber(b []byte) (Number, bool) {
	if v, ok := ParseCanonicalInt(b); ok {
		return IntNumber(v), true
	}
	isInt, ok := numberForm(b)
	if !ok {
		return Number{}, false
	}
	s := unsafe.String(unsafe.SliceData(b), len(b)) // read only, and not kept
	if isInt {
		if v, err := strconv.ParseInt(s, 10, 64); err == nil {
			return IntNumber(v), true
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return Number{}, false
	}
	if f >= math.MinInt64 && f < math.MaxInt64 && f == math.Trunc(f) {
		return IntNumber(int64(f)), true
	}
	return Number{Float: f}, true
}

// numberForm checks the grammar of ParseNumber and says whether there are only
// a sign and digits.
func numberForm(b []byte) (isInt, ok bool) {
	i := 0
	digits := func() int {
		n := i
		for i < len(b) && b[i]-'0' <= 9 {
			i++
		}
		return i - n
	}
	if i < len(b) && (b[i] == '-' || b[i] == '+') {
		i++
	}
	isInt = true
	n := digits()
	if i < len(b) && b[i] == '.' {
		isInt = false
		i++
		n += digits()
	}
	if n == 0 {
		return false, false
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		isInt = false
		i++
		if i < len(b) && (b[i] == '-' || b[i] == '+') {
			i++
		}
		if digits() == 0 {
			return false, false
		}
	}
	return isInt, i == len(b)
}

// ParseCanonicalInt reads an integer of 64 bits in its one canonical form: no
// plus sign, no leading zero, no -0. Formatting the result gives b again.
func ParseCanonicalInt(b []byte) (int64, bool) {
	digits := b
	if len(b) > 0 && b[0] == '-' {
		digits = b[1:]
	}
	if len(digits) == 0 || len(digits) > 19 || digits[0] == '0' && len(b) > 1 {
		return 0, false
	}
	var v uint64 // 19 digits fit
	for _, c := range digits {
		if c-'0' > 9 {
			return 0, false
		}
		v = v*10 + uint64(c-'0')
	}
	if len(digits) == len(b) {
		return int64(v), v <= math.MaxInt64
	}
	return int64(-v), v <= -math.MinInt64
}

// Cmp compares two numbers: -1, 0 or 1. Two integers compare exactly, all
// other pairs as floating-point numbers.
func (n Number) Cmp(m Number) int {
	if n.IsInt && m.IsInt {
		return cmp.Compare(n.Int, m.Int)
	}
	return cmp.Compare(n.float(), m.float())
}

func (n Number) float() float64 {
	if n.IsInt {
		return float64(n.Int)
	}
	return n.Float
}

func (n Number) String() string {
	if n.IsInt {
		return strconv.FormatInt(n.Int, 10)
	}
	return strconv.FormatFloat(n.Float, 'g', -1, 64)
}
