// Package vet finds, when the code is linted, four ways round the locks of package tenancy that types cannot stop. The
// database refuses most of them too; here they are found before they run.
//
// # tenantctx
//
// The context says whose rows a statement reaches, which transaction it joins and when it is given up. A *gorm.DB that is a
// field, a package variable or fresh from gorm.Open has none of that: at best its statements are refused, at worst they
// commit although the use case around them rolls back, or reach the tenant of whoever made the handle. Reported are
//
//   - a statement on such a *gorm.DB without WithContext in its chain;
//   - context.Background() or context.TODO(), also behind context.WithTimeout and its like, given to the methods Gorm and
//     Tx of a handle or to GORM's WithContext;
//   - a *gorm.DB with a context kept in a field or a package variable: it outlives the request, and the next one that
//     comes by works as the tenant of the first.
//
// # tenantschema
//
// In a tenant's SQL a table's name has no schema: the search_path that tenancy enters supplies it. A qualified name says
// where its rows are whoever asks, so that every tenant reads one tenant's rows, or the shared ones; a schema that is
// put together as the program runs is a tenant chosen by the statement. The catalogs (pg_catalog, information_schema) name
// every tenant there is. Their functions may be called, qualified or not. A TableName method is held to the same.
//
// # tenantset
//
// What a session keeps is found by the next tenant that gets the connection: SET, RESET, DISCARD, set_config, LISTEN, and
// advisory locks that are not let go with the transaction. SET LOCAL is no better, for it can undo what entering set:
// the path, the role, the mode and the timeout. SET CONSTRAINTS is none of that. A channel of NOTIFY is shared by all
// tenants; jobs are the way to say something to another process.
//
// # ginescape
//
// Gin gives the same *gin.Context to the next request as soon as a handler returns. A goroutine that still holds it reads
// another tenant's request, and answers it. Pass the values it needs, or c.Copy(). A goroutine that holds the
// *http.Request finds its body closed and its context ended. Goroutines are a go statement and what is given to
// Go and TryGo of an errgroup, to sync.WaitGroup's Go, to time.AfterFunc and to context.AfterFunc.
//
// # Where
//
// tenantschema and tenantset look at packages below modules/tenant and at those that use a tenancy.DB, or an interface that
// one satisfies, in what is given to GORM and database/sql and in texts that begin like a statement. What is given to pgx is
// not looked at: modules may not import it, and what does has a connection and a role of its own. Tests look at the
// database from outside, so that only ginescape reads them.
//
// None of it follows a value through a parameter, a channel or an interface, or reads SQL that is built with more than +
// and fmt.Sprintf, or passed in a struct of GORM's clause package. What is not found is left to the locks.
//
// # Exceptions
//
//	//homecore:allow tenantschema the operator's report counts all tenants
//
// at the end of the line, or alone on the line above. Without a reason it is reported itself, by the analyzer allow.
package vet
