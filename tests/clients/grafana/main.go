// Replays the calls of Grafana's Flight SQL plugin against a running endpoint, with the Arrow library of the version that
// the plugin (1.1.1) is built on, and reads values as the plugin does: a timestamp is nanoseconds whatever its unit says,
// and a column of a type outside a short list loses all of its rows. The plugin's own module is not on the Go proxy.
//
// Usage: grafana conformance HOST:PORT
//
//	grafana sign-in HOST:PORT PASSWORD TOKEN EXPIRED TAKEN_BACK
//	grafana panels HOST:PORT USER PASSWORD PROFILE
//
// The first needs the tables of tests/conformance.rs. The second prints "connected" when it holds data sources, and waits
// for a line: the server is to start again meanwhile. The third reads the targets of panels, as a dashboard has them, and
// asks each.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/apache/arrow/go/v12/arrow"
	"github.com/apache/arrow/go/v12/arrow/array"
	"github.com/apache/arrow/go/v12/arrow/flight"
	"github.com/apache/arrow/go/v12/arrow/flight/flightsql"
	"github.com/apache/arrow/go/v12/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// A data source as Grafana holds one: signed in once, when it is made.
type source struct {
	client *flightsql.Client
	md     metadata.MD
}

func open(address, user, password, token string) (*source, error) {
	client, err := flightsql.NewClient(address, nil, nil, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	md := metadata.MD{}
	if user != "" || password != "" {
		ctx, err := client.Client.AuthenticateBasicToken(context.Background(), user, password)
		if err != nil {
			return nil, err
		}
		md, _ = metadata.FromOutgoingContext(ctx)
	}
	if token != "" {
		md.Set("Authorization", "Bearer "+token)
	}
	return &source{client, md}, nil
}

// Columns by name, each with a value or nil a row.
type frame struct {
	names  []string
	values map[string][]any
}

func (s *source) read(info *flight.FlightInfo, err error) (*frame, error) {
	if err != nil {
		return nil, err
	}
	if len(info.Endpoint) != 1 {
		return nil, fmt.Errorf("%d endpoints", len(info.Endpoint))
	}
	reader, err := s.client.DoGet(s.context(), info.Endpoint[0].Ticket)
	if err != nil {
		return nil, err
	}
	defer reader.Release()
	found := &frame{values: map[string][]any{}}
	for _, field := range reader.Schema().Fields() {
		found.names = append(found.names, field.Name)
	}
	for reader.Next() {
		record := reader.Record()
		for i, column := range record.Columns() {
			name := record.ColumnName(i)
			for row := 0; row < column.Len(); row++ {
				value, err := value(column, row)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", name, err)
				}
				found.values[name] = append(found.values[name], value)
			}
		}
	}
	return found, reader.Err()
}

func (s *source) context() context.Context {
	return metadata.NewOutgoingContext(context.Background(), s.md)
}

func (s *source) query(sql string) (*frame, error) {
	return s.read(s.client.Execute(s.context(), sql))
}

func value(column arrow.Array, row int) (any, error) {
	if column.IsNull(row) {
		return nil, readable(column.DataType())
	}
	switch column := column.(type) {
	case *array.Timestamp:
		return column.Value(row).ToTime(arrow.Nanosecond), nil
	case *array.String:
		return column.Value(row), nil
	case *array.Boolean:
		return column.Value(row), nil
	case *array.Int8:
		return column.Value(row), nil
	case *array.Int16:
		return column.Value(row), nil
	case *array.Int32:
		return column.Value(row), nil
	case *array.Int64:
		return column.Value(row), nil
	case *array.Uint32:
		return column.Value(row), nil
	case *array.Float32:
		return column.Value(row), nil
	case *array.Float64:
		return column.Value(row), nil
	case *array.DenseUnion:
		return column.TypeCode(row), nil
	default:
		return nil, readable(column.DataType())
	}
}

// What the plugin copies: of every other type it drops the rows without a word.
func readable(found arrow.DataType) error {
	switch found.ID() {
	case arrow.STRING, arrow.BOOL, arrow.TIMESTAMP, arrow.FLOAT32, arrow.FLOAT64, arrow.DENSE_UNION, arrow.DURATION,
		arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64, arrow.UINT8, arrow.UINT16, arrow.UINT32, arrow.UINT64:
		return nil
	}
	return fmt.Errorf("the plugin cannot read %s", found)
}

func must[T any](value T, err error) T {
	if err != nil {
		fail("%v", err)
	}
	return value
}

func same(what string, expected, found any) {
	if !reflect.DeepEqual(expected, found) {
		fail("%s: expected %v, found %v", what, expected, found)
	}
}

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
	os.Exit(1)
}

func conformance(address string) {
	source := must(open(address, "", "", ""))
	health := must(source.query("select 1"))
	same("rows of the health check", 1, len(health.values[health.names[0]]))
	info := must(source.read(source.client.GetSqlInfo(source.context(), []flightsql.SqlInfo{})))
	if len(info.values["info_name"]) < 50 {
		fail("GetSqlInfo has %d entries", len(info.values["info_name"]))
	}
	tables := must(source.read(source.client.GetTables(source.context(), &flightsql.GetTablesOpts{
		TableTypes: []string{"BASE TABLE", "table"},
	})))
	gold := []any{}
	for row, schema := range tables.values["db_schema_name"] {
		if schema == "gold" {
			gold = append(gold, tables.values["table_name"][row])
		}
	}
	same("tables", []any{"clients", "every_type", "ventes"}, gold)
	columns(source)
	types(source)
	macros(source)
	million(source)
	mistakes(source)
}

// The schema of a table that the query editor offers the columns of.
func columns(source *source) {
	name := "every_type"
	info := must(source.client.GetTables(source.context(), &flightsql.GetTablesOpts{
		TableNameFilterPattern: &name,
		IncludeSchema:          true,
	}))
	reader := must(source.client.DoGet(source.context(), info.Endpoint[0].Ticket))
	defer reader.Release()
	if !reader.Next() {
		fail("the table is not listed: %v", reader.Err())
	}
	place := reader.Record().Schema().FieldIndices("table_schema")[0]
	column := array.NewStringData(reader.Record().Column(place).Data())
	schema := must(flight.DeserializeSchema([]byte(column.Value(0)), memory.DefaultAllocator))
	same("columns", 12, len(schema.Fields()))
	for _, field := range schema.Fields() {
		if err := readable(field.Type); err != nil {
			fail("%s: %v", field.Name, err)
		}
	}
}

func types(source *source) {
	rows := must(source.query("SELECT * FROM gold.every_type ORDER BY id"))
	expected := map[string]any{
		"id": int64(1), "boolean": true, "smallint": int16(-32768), "integer": int32(-2147483648),
		"bigint": int64(-9223372036854775808), "double": 0.1, "decimal_12": -9999999999.99,
		"decimal_38": 12345678901234567890123456789012345.678, "text": "été, l'hiver 🏃", "bytes": "00ff",
		"day":    time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC),
		"moment": time.Date(2024, 2, 29, 23, 59, 59, 123456000, time.UTC),
	}
	same("columns", len(expected), len(rows.names))
	// A double holds 15 of its 38 digits.
	wide := rows.values["decimal_38"]
	if close, is := wide[0].(float64); is && math.Abs(close/12345678901234567890123456789012345.678-1) < 1e-15 {
		wide[0] = 12345678901234567890123456789012345.678
	}
	for name, value := range expected {
		null := any(nil)
		if name == "id" {
			null = int64(2)
		}
		same(name, []any{value, null}, rows.values[name])
	}
	days := must(source.query("SELECT jour AS time, montant FROM gold.ventes WHERE jour IS NOT NULL ORDER BY jour"))
	same("days", []any{
		time.Date(2023, 12, 31, 0, 0, 0, 0, time.UTC),
		time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC),
		time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC),
	}, days.values["time"])
	same("amounts", []any{nil, 10.5, 4.25}, days.values["montant"])
}

// What $__dateBin and $__timeFilter become.
func macros(source *source) {
	rows := must(source.query(`SELECT date_bin(interval '3600 second', jour, timestamp '1970-01-01T00:00:00Z') AS time,
		count(*) AS n FROM gold.ventes WHERE jour >= cast('2024-02-01T00:00:00Z' as timestamp)
		AND jour <= cast('2024-03-01T00:00:00Z' as timestamp) GROUP BY 1 ORDER BY 1`))
	same("bins", []any{
		time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC),
		time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC),
	}, rows.values["time"])
	same("counts", []any{int64(1), int64(1)}, rows.values["n"])
}

// Each message stays below the 4 MiB that the library takes.
func million(source *source) {
	rows := must(source.query("SELECT value, 'row ' || value AS label FROM range(0, 1000000)"))
	same("rows", 1000000, len(rows.values["label"]))
	wide := must(source.query("SELECT repeat('x', 1000000) AS wide FROM range(0, 12)"))
	same("wide rows", 12, len(wide.values["wide"]))
}

func mistakes(source *source) {
	for sql, words := range map[string]string{
		"SELECT nowhere FROM gold.ventes": "nowhere",
		"SELECT * FROM gold.nowhere":      "not found",
		"DELETE FROM gold.ventes":         "only reading statements",
	} {
		if _, err := source.query(sql); err == nil || !strings.Contains(err.Error(), words) {
			fail("%s: %v", sql, err)
		}
	}
}

func signIn(address, password, token, expired, takenBack string) {
	const seen = "SELECT texte FROM gold.visible"
	ways := [][3]string{{"anne", password, ""}, {"", "", token}, {"anyone", token, ""}}
	sources := []*source{}
	for _, way := range ways {
		source := must(open(address, way[0], way[1], way[2]))
		same("rows", []any{"vu"}, must(source.query(seen)).values["texte"])
		sources = append(sources, source)
	}
	refused := func(words string, way [3]string, sql string) {
		source, err := open(address, way[0], way[1], way[2])
		if err == nil {
			_, err = source.query(sql)
		}
		if err == nil || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "secret") {
			fail("%s: %v", words, err)
		}
	}
	refused("nobody is signed in", [3]string{}, seen)
	refused("the user or the password is wrong", [3]string{"anne", "wrong horse", ""}, seen)
	refused("the token has expired", [3]string{"", "", expired}, seen)
	refused("the token was taken back", [3]string{"", "", takenBack}, seen)
	refused("gold.cache' not found", ways[0], "SELECT * FROM gold.cache")
	refused("gold.visible' not found", [3]string{"bob", password, ""}, seen)

	fmt.Println("connected")
	bufio.NewReader(os.Stdin).ReadString('\n')
	for _, source := range sources {
		rows, err := source.query(seen)
		// The first call may meet the channel that broke; a panel is refreshed.
		for attempt := 1; err != nil && attempt < 3 && !strings.Contains(err.Error(), "Unauthenticated"); attempt++ {
			rows, err = source.query(seen)
		}
		same("rows after a restart", []any{"vu"}, must(rows, err).values["texte"])
	}
}

// What a panel asks, as the plugin takes it from a dashboard.
type target struct {
	Text   string `json:"queryText"`
	Format string `json:"format"`
}

func panels(address, user, password, profile string) {
	targets := []target{}
	if err := json.NewDecoder(os.Stdin).Decode(&targets); err != nil || len(targets) == 0 {
		fail("no targets: %v", err)
	}
	source := must(open(address, user, password, ""))
	source.md.Set("profile", profile)
	for _, target := range targets {
		if strings.Contains(target.Text, "$") {
			fail("%s: macros and variables are not filled in here", target.Text)
		}
		found, err := source.query(target.Text)
		if err == nil {
			err = found.shows(target.Format)
		}
		if err != nil {
			fail("%s: %v", target.Text, err)
		}
	}
}

// Whether a panel has something to show: a value in each column, and of a series its times in order beside a number.
func (f *frame) shows(format string) error {
	numbers := 0
	for _, name := range f.names {
		var first any
		for _, value := range f.values[name] {
			if first == nil {
				first = value
			}
		}
		if first == nil {
			return fmt.Errorf("the column %s is empty", name)
		}
		kind := reflect.TypeOf(first).Kind()
		if kind >= reflect.Int && kind <= reflect.Float64 {
			numbers++
		}
	}
	if numbers == 0 {
		return fmt.Errorf("there is no number among %v", f.names)
	}
	switch format {
	case "table":
		return nil
	case "time_series":
		before := time.Time{}
		for _, value := range f.values["time"] {
			now, is := value.(time.Time)
			if !is || now.Before(before) {
				return fmt.Errorf("%v follows %v", value, before)
			}
			before = now
		}
		if before.IsZero() {
			return fmt.Errorf("there is no column time among %v", f.names)
		}
		return nil
	default:
		return fmt.Errorf("the plugin has no format %q", format)
	}
}

func main() {
	arguments := os.Args[1:]
	switch {
	case len(arguments) == 2 && arguments[0] == "conformance":
		conformance(arguments[1])
	case len(arguments) == 6 && arguments[0] == "sign-in":
		signIn(arguments[1], arguments[2], arguments[3], arguments[4], arguments[5])
	case len(arguments) == 5 && arguments[0] == "panels":
		panels(arguments[1], arguments[2], arguments[3], arguments[4])
	default:
		fail("usage: grafana conformance|sign-in|panels HOST:PORT ..")
	}
	fmt.Println("passed")
}
