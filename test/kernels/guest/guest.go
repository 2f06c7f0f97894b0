// Package guest is what test/kernels and its guest's init say to each other:
// where things are in the initramfs, and the lines on the serial port. It owns
// no code.
package guest

// Places in the guest.
const (
	ModuleDir = "/modules"       // loaded in the order of the names
	List      = "/programs.json" // []Program
	Port      = "/dev/ttyS1"     // where all output goes
)

// Lines of init's own start with one of these, at the start of a line.
const (
	Kernel = "guest: kernel " // release
	Begin  = "guest: begin "  // name
	End    = "guest: end "    // name, exit code, time
	Done   = "guest: all have run"
	Broken = "guest: broken: " // why nothing more comes
)

// Program is one thing to run.
type Program struct {
	Name string
	// Args is the command line; Args[0] is a path in the guest.
	Args []string
	Env  []string
	// Dir is the working directory; it is made.
	Dir string
}
