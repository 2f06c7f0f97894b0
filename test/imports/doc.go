// Package imports holds the import table and the house rules, as tests. It
// owns no code: what is here looks at the module's source from outside.
package imports
