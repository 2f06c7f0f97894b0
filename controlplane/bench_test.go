package controlplane_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-mesh/culvert/controlplane/file"
	"github.com/culvert-mesh/culvert/controlplane/model"
	"github.com/culvert-mesh/culvert/controlplane/objects"
	"github.com/culvert-mesh/culvert/controlplane/serve"
	"github.com/culvert-mesh/culvert/controlplane/translate"
)

// BenchmarkPolicy is the cost of one whole run from files to resources, by stage.
func BenchmarkPolicy(b *testing.B) {
	dir := b.TempDir()
	var text strings.Builder
	for i := range 500 {
		name := fmt.Sprintf("web-%d", i)
		one := strings.NewReplacer("web", name, "10.96.0.1", fmt.Sprintf("10.96.%d.%d", i/250, i%250)).Replace(web)
		text.WriteString("---" + one + "---" + strings.NewReplacer("name: r", "name: r-"+name, "web", name, "api, port: 81", name+", port: 80").Replace(route))
	}
	if err := os.WriteFile(filepath.Join(dir, "all.yaml"), []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	set, problems, err := file.Read(dir)
	if err != nil || len(problems) > 0 {
		b.Fatal(err, problems)
	}
	m, problems := set.Model(nil)
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := file.Read(dir); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("edit", func(b *testing.B) {
		ctx, cancel := context.WithCancel(b.Context())
		applied, ended := make(chan struct{}), make(chan error, 1)
		go func() {
			ended <- file.New(dir, slog.New(slog.DiscardHandler)).Run(ctx, func(*objects.Set, []model.Problem) {
				applied <- struct{}{}
			})
		}()
		<-applied
		for b.Loop() {
			edited := text.String() + fmt.Sprintf("---\n# %d\n", b.N) + strings.ReplaceAll(api, "10.96.0.2", "None")
			writeFile(b, dir, "all.yaml", edited)
			<-applied
		}
		cancel()
		if err := <-ended; err != nil {
			b.Fatal(err)
		}
	})
	b.Run("model", func(b *testing.B) {
		for b.Loop() {
			set.Model(nil)
		}
	})
	b.Run("translate", func(b *testing.B) {
		for b.Loop() {
			translate.Model(m)
		}
	})
	b.Run("nothing changed", func(b *testing.B) {
		server, translator := serve.New(slog.New(slog.DiscardHandler)), &translate.Translator{}
		server.Update(translator.Next(m))
		for b.Loop() {
			m, _ := set.Model(nil)
			server.Update(translator.Next(m))
		}
	})
	b.Run("all compared", func(b *testing.B) {
		server := serve.New(slog.New(slog.DiscardHandler))
		server.Update(translate.Model(m))
		for b.Loop() {
			m, _ := set.Model(nil)
			server.Update(translate.Model(m))
		}
	})
}
