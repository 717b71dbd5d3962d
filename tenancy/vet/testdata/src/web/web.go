package web

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/sync/errgroup"
)

type exchange struct{ c *gin.Context }

func work(any)                    {}
func workOn(context.Context, any) {}

func (exchange) answer() {}

func handle(c *gin.Context) {
	go func() { c.JSON(200, nil) }()                // want "a goroutine holds the handler's .gin.Context"
	go func() { work(c.Copy()) }()                  // want "a goroutine holds the handler's .gin.Context"
	go func() { work(c.Request) }()                 // want "a goroutine holds the handler's .http.Request"
	go func(c *gin.Context) { c.JSON(200, nil) }(c) // want "a goroutine holds the handler's .gin.Context"
	go work(c)                                      // want "a goroutine holds the handler's .gin.Context"
	go work(c.Request)                              // want "a goroutine holds the handler's .http.Request"
	go c.JSON(200, nil)                             // want "a goroutine holds the handler's .gin.Context"
	x := exchange{c}
	go func() { x.c.JSON(200, nil) }()   // want "a goroutine holds the handler's .gin.Context"
	later := func() { c.JSON(200, nil) } // want "a goroutine holds the handler's .gin.Context"
	go later()

	var group errgroup.Group
	group.Go(func() error { c.JSON(200, nil); return nil })    // want "a goroutine holds the handler's .gin.Context"
	group.TryGo(func() error { c.JSON(200, nil); return nil }) // want "a goroutine holds the handler's .gin.Context"
	var wait sync.WaitGroup
	wait.Go(func() { c.JSON(200, nil) })                           // want "a goroutine holds the handler's .gin.Context"
	time.AfterFunc(time.Second, func() { c.JSON(200, nil) })       // want "a goroutine holds the handler's .gin.Context"
	context.AfterFunc(context.TODO(), func() { c.JSON(200, nil) }) // want "a goroutine holds the handler's .gin.Context"

	// Values and copies, taken while the handler runs.
	id := c.Param("id")
	ctx := c.Request.Context()
	go func() { workOn(ctx, id) }()
	go work(c.Param("id"))
	go work(c.Copy())
	copied := c.Copy()
	go func() { copied.JSON(200, nil) }()
	go func(c *gin.Context) { c.JSON(200, nil) }(c.Copy())
	go x.answer()
	func() { c.JSON(200, nil) }()
	go func() {
		register(func(c *gin.Context) { c.JSON(200, nil) })
	}()
}

func register(func(*gin.Context)) {}

func plain(w http.ResponseWriter, r *http.Request) {
	go func() { work(r.Body) }() // want "a goroutine holds the handler's .http.Request"
	go work(r)                   // want "a goroutine holds the handler's .http.Request"
	go func() { work(w) }()
	path := r.URL.Path
	go func() { work(path) }()

	// A request of its own is sent, not answered.
	out, _ := http.NewRequest("GET", "/", nil)
	go func() { http.DefaultClient.Do(out) }()
}

func send(r *http.Request) (*http.Response, error) {
	go func() { work(r.URL) }()
	return nil, nil
}
