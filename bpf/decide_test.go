package bpf

import "testing"

func TestLoads(t *testing.T) {
	o, err := Load(nil)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer o.Close()
	tag, err := Layout()
	t.Log(tag, err)
}
