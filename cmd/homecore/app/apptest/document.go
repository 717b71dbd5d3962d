package apptest

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"garment.id/homecore/platform/api"
)

// validators are made once for each surface: the documents are the same in every test of a process.
var validators sync.Map // api.Surface → func() (validator.Validator, error)

func (a *App) validator(surface api.Surface) (validator.Validator, error) {
	load, _ := validators.LoadOrStore(surface, sync.OnceValues(func() (validator.Validator, error) {
		text, err := a.Router.Document(surface)
		if err != nil {
			return nil, err
		}
		document, err := libopenapi.NewDocument(text)
		if err != nil {
			return nil, err
		}
		v, errs := validator.NewValidator(document)
		if len(errs) > 0 {
			return nil, errs[0]
		}
		return v, nil
	}))
	return load.(func() (validator.Validator, error))()
}

// holdAgainstDocument fails the test if the answer is not one that the document of its host allows. Answers to requests for
// which the document has no operation (404 and 405 of the edge) are held to nothing but the envelope.
func (a *App) holdAgainstDocument(t testing.TB, host string, req *http.Request, answer *http.Response, body []byte) {
	t.Helper()
	surface := api.CoreAPI
	if host != BaseHost {
		surface = api.TenantAPI
	}
	v, err := a.validator(surface)
	if err != nil {
		t.Errorf("read the OpenAPI document: %v", err)
		return
	}
	ok, failures := v.ValidateHttpResponse(req, answer)
	if ok {
		return
	}
	for _, f := range failures {
		if f.IsPathMissingError() || f.IsOperationMissingError() {
			continue
		}
		var details []string
		for _, d := range f.SchemaValidationErrors {
			details = append(details, d.FieldPath+": "+d.Reason)
		}
		t.Errorf("%s %s %d is not as the OpenAPI document says: %s: %s\n%s\n%s", req.Method, req.URL.Path, answer.StatusCode,
			f.Message, f.Reason, strings.Join(details, "\n"), body)
	}
}
