package api_test
import ("testing";"net/http/httptest";"net/http";"log/slog";"io";"garment.id/homecore/platform/api")
func BenchmarkHello(b *testing.B){ e:=newEdge(&testing.T{}, func(c *api.Config){c.Logger=slog.New(slog.NewJSONHandler(io.Discard,nil))}); req:=httptest.NewRequest(http.MethodGet,"http://localhost:8080/api/v1/me",nil); req.Header.Set("Authorization","Bearer "+centralToken); b.ReportAllocs(); for b.Loop(){ w:=httptest.NewRecorder(); e.ServeHTTP(w,req); if w.Code!=200 {b.Fatal(w.Code)} } }
