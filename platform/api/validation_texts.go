package api

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"

	"garment.id/homecore/platform/locale"
)

const maxFieldName = 100

// wrongField is what is wrong with one field.
type wrongField struct {
	field string
	text  locale.Text
}

var (
	textInvalid          = locale.Text{ID: "Nilai tidak valid.", EN: "Is not valid."}
	textRequired         = locale.Text{ID: "Wajib diisi.", EN: "Is required."}
	textUnknownParameter = locale.Text{ID: "Parameter tidak dikenal.", EN: "Is not a known parameter."}
	textEmail            = locale.Text{ID: "Alamat email tidak valid.", EN: "Is not a valid email address."}
	textInteger          = locale.Text{ID: "Harus berupa bilangan bulat.", EN: "Must be a whole number."}
	textNumber           = locale.Text{ID: "Harus berupa angka.", EN: "Must be a number."}
	textBoolean          = locale.Text{ID: "Harus berupa true atau false.", EN: "Must be true or false."}
	textDateTime         = locale.Text{ID: "Harus berupa waktu RFC 3339, misalnya 2026-03-03T16:00:16Z.", EN: "Must be an RFC 3339 time, such as 2026-03-03T16:00:16Z."}
	textUUID             = locale.Text{ID: "Harus berupa UUID.", EN: "Must be a UUID."}
	textAddress          = locale.Text{ID: "Alamat IP tidak valid.", EN: "Is not a valid IP address."}
	textLink             = locale.Text{ID: "Tautan tidak valid.", EN: "Is not a valid link."}
)

// limit is a text with one number or name in it.
type limit struct{ id, en string }

// fixedTexts translates huma's messages that are always the same.
var fixedTexts = map[string]locale.Text{
	validation.MsgUnexpectedProperty:           {ID: "Kolom tidak dikenal.", EN: "Is not a known field."},
	validation.MsgExpectedRFC3339DateTime:      textDateTime,
	validation.MsgExpectedRFC1123DateTime:      {ID: "Harus berupa waktu HTTP.", EN: "Must be an HTTP date."},
	validation.MsgExpectedRFC3339Date:          {ID: "Harus berupa tanggal, misalnya 2026-03-03.", EN: "Must be a date, such as 2026-03-03."},
	validation.MsgExpectedRFC3339Time:          {ID: "Harus berupa jam, misalnya 16:00:16.", EN: "Must be a time of day, such as 16:00:16."},
	validation.MsgExpectedRFC5890Hostname:      {ID: "Nama host tidak valid.", EN: "Is not a valid host name."},
	validation.MsgExpectedRFC2673IPv4:          textAddress,
	validation.MsgExpectedRFC2373IPv6:          textAddress,
	validation.MsgExpectedRFCIPAddr:            textAddress,
	validation.MsgExpectedBoolean:              textBoolean,
	validation.MsgExpectedNumber:               textNumber,
	validation.MsgExpectedInteger:              textInteger,
	validation.MsgExpectedString:               {ID: "Harus berupa teks.", EN: "Must be text."},
	validation.MsgExpectedBase64String:         {ID: "Harus berupa base64.", EN: "Must be base64."},
	validation.MsgExpectedArray:                {ID: "Harus berupa daftar.", EN: "Must be a list."},
	validation.MsgExpectedObject:               {ID: "Harus berupa objek.", EN: "Must be an object."},
	validation.MsgExpectedArrayItemsUnique:     {ID: "Tidak boleh berisi nilai yang sama.", EN: "Must not hold the same value twice."},
	validation.MsgExpectedPropertyNameInObject: textRequired,
	"required query parameter is missing":      textRequired,
	"required header parameter is missing":     textRequired,
	"required cookie parameter is missing":     textRequired,
	"required form parameter is missing":       textRequired,
	"unknown query parameter":                  textUnknownParameter,
	"invalid integer":                          textInteger,
	"invalid float":                            textNumber,
	"invalid floating value":                   textNumber,
	"invalid boolean":                          textBoolean,
	"invalid url.URL value":                    textLink,
}

// prefixedTexts translates huma's messages that begin alike and end with a cause, which quotes the value.
var prefixedTexts = []struct {
	prefix string
	text   locale.Text
}{
	{before(validation.MsgExpectedRFC5322Email), textEmail},
	{before(validation.MsgExpectedRFC3986URI), textLink},
	{before(validation.MsgExpectedRFC4122UUID), textUUID},
	{"invalid value: invalid UUID", textUUID},
	{before(validation.MsgExpectedDuration), locale.Text{ID: "Harus berupa durasi.", EN: "Must be a duration."}},
	{before(validation.MsgExpectedRegexp), locale.Text{ID: "Ekspresi reguler tidak valid.", EN: "Is not a valid regular expression."}},
	{before(validation.MsgExpectedMatchPattern), locale.Text{ID: "Formatnya tidak sesuai.", EN: "Does not have the right format."}},
	{"invalid date/time for format", textDateTime},
}

// limitTexts translates huma's messages that end with the limit, which comes from the schema and may be shown.
var limitTexts = []struct {
	prefix, suffix string
	limit
}{
	{before(validation.MsgExpectedMinLength), "", limit{"Minimal %s karakter.", "Must have at least %s characters."}},
	{before(validation.MsgExpectedMaxLength), "", limit{"Maksimal %s karakter.", "Must have at most %s characters."}},
	{before(validation.MsgExpectedMinimumNumber), "", limit{"Minimal %s.", "Must be at least %s."}},
	{before(validation.MsgExpectedMaximumNumber), "", limit{"Maksimal %s.", "Must be at most %s."}},
	{before(validation.MsgExpectedExclusiveMinimumNumber), "", limit{"Harus lebih dari %s.", "Must be more than %s."}},
	{before(validation.MsgExpectedExclusiveMaximumNumber), "", limit{"Harus kurang dari %s.", "Must be less than %s."}},
	{before(validation.MsgExpectedNumberBeMultipleOf), "", limit{"Harus kelipatan %s.", "Must be a multiple of %s."}},
	{before(validation.MsgExpectedMinItems), "", limit{"Minimal berisi %s.", "Must hold at least %s."}},
	{before(validation.MsgExpectedMaxItems), "", limit{"Maksimal berisi %s.", "Must hold at most %s."}},
	{before(validation.MsgExpectedMinProperties), " properties", limit{"Minimal berisi %s.", "Must hold at least %s."}},
	{before(validation.MsgExpectedMaxProperties), " properties", limit{"Maksimal berisi %s.", "Must hold at most %s."}},
	{before(validation.MsgExpectedOneOf), `"`, limit{"Harus salah satu dari: %s.", "Must be one of: %s."}},
	{before(validation.MsgExpectedBePattern), "", limit{"Harus berupa %s.", "Must be %s."}},
}

// before returns the constant beginning of one of huma's formats.
func before(format string) string {
	prefix, _, _ := strings.Cut(format, "%")
	return prefix
}

// wrongFields translates what huma found wrong. unknownPath says that a path parameter is among it: there is nothing at such a path.
func wrongFields(errs []error) (wrong []wrongField, unknownPath bool) {
	wrong = make([]wrongField, 0, min(len(errs), maxWrongFields))
	for _, err := range errs {
		var d huma.ErrorDetailer
		if !errors.As(err, &d) {
			continue
		}
		detail := d.ErrorDetail()
		location, rest, _ := strings.Cut(detail.Location, ".")
		if location == "path" {
			return nil, true
		}
		if len(wrong) == cap(wrong) {
			continue
		}
		wrong = append(wrong, translate(location, rest, detail.Message))
	}
	return wrong, false
}

// translate names the field of one of huma's errors and says in both languages what is wrong with it.
func translate(location, field, message string) wrongField {
	if location == "body" {
		field = dotted(field)
	}
	if name, ok := between(message, validation.MsgExpectedRequiredProperty); ok {
		return wrongField{join(field, name), textRequired}
	}
	if name, ok := between(message, validation.MsgExpectedDependentRequiredProperty); ok {
		return wrongField{join(field, name), textRequired}
	}
	if name, ok := strings.CutPrefix(message, unfitPrefix); ok {
		return wrongField{orBody(name), textInvalid}
	}
	return wrongField{orBody(field), textOf(message)}
}

func textOf(message string) locale.Text {
	if text, ok := fixedTexts[message]; ok {
		return text
	}
	// First those that quote the value: an all too general prefix below must not let their ends through.
	for _, t := range prefixedTexts {
		if strings.HasPrefix(message, t.prefix) {
			return t.text
		}
	}
	for _, t := range limitTexts {
		bound, ok := strings.CutPrefix(message, t.prefix)
		if !ok {
			continue
		}
		bound = plainNumber(strings.TrimSuffix(bound, t.suffix))
		if t.prefix == before(validation.MsgExpectedMinLength) && bound == "1" {
			return textRequired
		}
		if t.prefix == before(validation.MsgExpectedBePattern) && bound == emailPattern {
			return textEmail
		}
		return locale.Text{ID: fmt.Sprintf(t.id, bound), EN: fmt.Sprintf(t.en, bound)}
	}
	return textInvalid
}

// between returns what stands for the first %s of format in message.
func between(message, format string) (string, bool) {
	parts := strings.SplitN(format, "%s", 3)
	rest, ok := strings.CutPrefix(message, parts[0])
	if !ok || len(parts) < 2 {
		return "", false
	}
	name, _, ok := strings.Cut(rest, parts[1])
	return name, ok
}

// plainNumber writes 1e+06, as huma prints a million, as people do.
func plainNumber(s string) string {
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return s
}

// dotted turns lines[0].quantity into lines.0.quantity.
func dotted(path string) string {
	if !strings.Contains(path, "[") {
		return path
	}
	return strings.NewReplacer("[", ".", "]", "").Replace(path)
}

func join(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "." + name
}

// orBody names the body itself where no field of it is meant.
func orBody(field string) string {
	if field == "" {
		return "body"
	}
	return field
}
