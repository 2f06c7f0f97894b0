#!/bin/sh
# protoc's plugin at the version that go.mod pins: nothing to install, and the
# generated file does not depend on the machine.
exec go tool protoc-gen-go "$@"
