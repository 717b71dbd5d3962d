package api

import (
	"strconv"
	"strings"

	"garment.id/homecore/platform/fault"
)

// ListQuery is what every list takes; embed it in the input. Filters are fields beside it, tagged query:"filter[kind]".
type ListQuery struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"25" doc:"The most rows of a page."`
	Cursor string `query:"cursor" maxLength:"1024" doc:"next_cursor of the page before."`
	Q      string `query:"q" maxLength:"200" doc:"Text to look for."`
	Sort   string `query:"sort" maxLength:"64" doc:"Field to sort by; a leading - sorts downwards."`
	Lang   string `query:"lang" doc:"Language of texts: id or en."`
}

// Version returns the version a client means to change: that of the If-Match header ("3", 3 or W/"3"), else that of the body.
// Neither, or two that differ, is the fault validation.failed on the field version.
func Version(ifMatch string, body *int64) (int64, error) {
	ifMatch = strings.TrimSpace(ifMatch)
	if ifMatch == "" {
		if body == nil {
			return 0, fault.ValidationFailed.WithField("version",
				"Wajib diisi, di sini atau pada tajuk If-Match.", "Is required, here or in the If-Match header.")
		}
		return *body, nil
	}
	tag := strings.TrimPrefix(ifMatch, "W/")
	if unquoted, ok := strings.CutPrefix(tag, `"`); ok {
		tag, ok = strings.CutSuffix(unquoted, `"`)
		if !ok {
			tag = ""
		}
	}
	version, err := strconv.ParseInt(tag, 10, 64)
	if err != nil || version < 0 {
		return 0, fault.ValidationFailed.WithField("version",
			"Tajuk If-Match harus berisi nomor versi.", "The If-Match header must be a version number.")
	}
	if body != nil && *body != version {
		return 0, fault.ValidationFailed.WithField("version",
			"Versi pada tajuk If-Match dan pada isi berbeda.", "The versions in the If-Match header and in the body differ.")
	}
	return version, nil
}
