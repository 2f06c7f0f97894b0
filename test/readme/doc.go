// Package readme checks that what the README shows is true. It owns no code.
package readme
