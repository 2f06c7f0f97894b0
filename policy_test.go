package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/culvert-mesh/culvert/controlplane"
	"github.com/culvert-mesh/culvert/node"
	"github.com/culvert-mesh/culvert/node/xds"
)

// meet serves a directory of policy to an xds client, which hands what it makes
// of it to the channel. Both end with the test.
func meet(t *testing.T, dir string) (*xds.Client, <-chan xds.Update) {
	t.Helper()
	listener, dialer := node.Pipe()
	updates := make(chan xds.Update, 100)
	client, err := xds.New(xds.Config{Node: "node-1", Dialer: dialer, Apply: func(_ context.Context, u xds.Update) error {
		updates <- u
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- controlplane.Run(ctx, controlplane.Config{PolicyDir: dir, Listener: listener}) }()
	go func() { done <- client.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return client, updates
}

// next waits for an update.
func next(t *testing.T, client *xds.Client, updates <-chan xds.Update) xds.Update {
	t.Helper()
	select {
	case u := <-updates:
		return u
	case <-time.After(10 * time.Second):
		t.Fatalf("no update came; the client's state is %+v", client.Status())
		return xds.Update{}
	}
}

// TestNodeTakesWhatTheControlPlaneMakes gives every golden story of the control
// plane to the node's own decoder: nothing may be refused.
func TestNodeTakesWhatTheControlPlaneMakes(t *testing.T) {
	stories, err := filepath.Glob("controlplane/testdata/*.txtar")
	if err != nil || len(stories) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, path := range stories {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for _, f := range archive.Files {
				if !strings.HasSuffix(f.Name, ".yaml") {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			client, updates := meet(t, dir)
			u := next(t, client, updates)
			s := client.Status()
			if len(s.Refused)+len(s.Conflicts)+len(s.Waiting) > 0 {
				t.Errorf("refused %q, conflicts %q, waiting for %q", s.Refused, s.Conflicts, s.Waiting)
			}
			for _, typ := range s.Types {
				if typ.Type == "listener" && len(typ.Resources) != len(u.Snapshot.Services) {
					t.Errorf("%d services of %d listeners", len(u.Snapshot.Services), len(typ.Resources))
				}
			}
		})
	}
}

// TestChangeOfAFileArrives changes a route and waits for the table that has it.
func TestChangeOfAFileArrives(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("service.yaml", `{apiVersion: v1, kind: Service, metadata: {name: api, namespace: default},
 spec: {clusterIP: 10.0.0.1, ports: [{port: 80, appProtocol: http}]}}`)
	client, updates := meet(t, dir)
	if u := next(t, client, updates); len(u.Snapshot.Services) != 1 || u.Snapshot.Services[0].Rules != nil {
		t.Fatalf("services %+v", u.Snapshot.Dump())
	}
	write("route.yaml", shopRoute)
	started := time.Now()
	for {
		u := next(t, client, updates)
		if rules := u.Snapshot.Services[0].Rules; len(rules) == 2 && rules[0].Name == "default/shop/v2" {
			break
		}
	}
	t.Logf("a change of a file was in the table after %v", time.Since(started))
	if err := os.Remove(filepath.Join(dir, "route.yaml")); err != nil {
		t.Fatal(err)
	}
	for next(t, client, updates).Snapshot.Services[0].Rules != nil {
	}
}
