// Checks a running endpoint with the Arrow Flight SQL JDBC driver, as DBeaver meets it.
//
// Usage: java --add-opens=java.base/java.nio=ALL-UNNAMED -cp DRIVER.jar FlightSqlJdbc.java HOST:PORT
//
// Every check is a method below; the run prints each one's name and ends with 1 if any failed.

import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.Date;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Types;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Properties;
import java.util.Set;

public class FlightSqlJdbc {
    interface Check {
        void run() throws Exception;
    }

    static String address;
    static int failed;
    static int done;

    public static void main(String[] arguments) throws Exception {
        address = arguments[0];
        check("what the server is and can do", FlightSqlJdbc::metadata);
        check("tables, columns and keys are browsed", FlightSqlJdbc::browse);
        check("every type keeps its value and its NULL", FlightSqlJdbc::types);
        check("a prepared statement is bound again and again", FlightSqlJdbc::prepared);
        check("escapes of JDBC are read", FlightSqlJdbc::escapes);
        check("a million rows are streamed", FlightSqlJdbc::million);
        check("a statement is cancelled", FlightSqlJdbc::cancelled);
        check("mistakes are SQL exceptions with a hint", FlightSqlJdbc::mistakes);
        check("the catalog and the schema of the connection are set", FlightSqlJdbc::session);
        System.out.println((done - failed) + " of " + done + " checks passed");
        System.exit(failed == 0 ? 0 : 1);
    }

    static void check(String name, Check check) {
        done++;
        try {
            check.run();
            System.out.println("ok      " + name);
        } catch (Throwable problem) {
            failed++;
            System.out.println("FAILED  " + name);
            problem.printStackTrace(System.out);
        }
    }

    static Connection connect(String... properties) throws SQLException {
        Properties all = new Properties();
        all.put("useEncryption", "false");
        for (int i = 0; i < properties.length; i += 2) {
            all.put(properties[i], properties[i + 1]);
        }
        return DriverManager.getConnection("jdbc:arrow-flight-sql://" + address, all);
    }

    static void same(Object expected, Object found) {
        boolean equal = expected == null ? found == null : expected.equals(found);
        if (!equal) {
            throw new AssertionError("expected " + expected + ", found " + found);
        }
    }

    static void metadata() throws Exception {
        try (Connection connection = connect("user", "anna", "password", "secret")) {
            DatabaseMetaData data = connection.getMetaData();
            same("sportlake", data.getDatabaseProductName());
            same("\"", data.getIdentifierQuoteString());
            same(true, data.isReadOnly());
            same("catalog", data.getCatalogTerm());
            same(true, data.supportsGroupBy());
            same(true, data.supportsOuterJoins());
            same(true, data.supportsFullOuterJoins());
            same(true, data.supportsUnionAll());
            same(true, data.supportsColumnAliasing());
            same(true, data.supportsCorrelatedSubqueries());
            same(false, data.supportsTransactions());
            if (!data.getStringFunctions().contains("UCASE") || !data.getTimeDateFunctions().contains("TIMESTAMPADD")) {
                throw new AssertionError(data.getStringFunctions() + data.getTimeDateFunctions());
            }
            data.getSQLKeywords();
            data.getNumericFunctions();
            data.getSystemFunctions();
            data.supportsConvert(Types.VARCHAR, Types.INTEGER);
            data.getTypeInfo().close();
        }
    }

    static List<String> column(ResultSet rows, String name) throws SQLException {
        List<String> values = new ArrayList<>();
        while (rows.next()) {
            values.add(rows.getString(name));
        }
        rows.close();
        return values;
    }

    static void browse() throws Exception {
        try (Connection connection = connect()) {
            DatabaseMetaData data = connection.getMetaData();
            same(List.of("sportlake"), column(data.getCatalogs(), "TABLE_CAT"));
            same(true, column(data.getSchemas(), "TABLE_SCHEM").contains("gold"));
            same(List.of("TABLE", "VIEW"), column(data.getTableTypes(), "TABLE_TYPE"));
            same(List.of("every_type"), column(data.getTables(null, "gold", "every%", new String[] {"TABLE"}), "TABLE_NAME"));
            same(List.of("id"), column(data.getPrimaryKeys(null, "gold", "every_type"), "COLUMN_NAME"));
            same(List.of(), column(data.getImportedKeys(null, "gold", "every_type"), "FKCOLUMN_NAME"));
            same(List.of(), column(data.getExportedKeys(null, "gold", "every_type"), "FKCOLUMN_NAME"));
            same(List.of(), column(data.getCrossReference(null, null, "every_type", null, null, "every_type"), "FKCOLUMN_NAME"));
            try (ResultSet columns = data.getColumns(null, "gold", "every_type", "%")) {
                int found = 0;
                while (columns.next()) {
                    found++;
                    String name = columns.getString("COLUMN_NAME");
                    if (name.equals("decimal_12")) {
                        same(Types.DECIMAL, columns.getInt("DATA_TYPE"));
                        same(12, columns.getInt("COLUMN_SIZE"));
                        same(2, columns.getInt("DECIMAL_DIGITS"));
                    }
                    if (columns.getString("TYPE_NAME") == null) {
                        throw new AssertionError(name + " has no type name");
                    }
                }
                same(true, found > 10);
            }
        }
    }

    static void types() throws Exception {
        try (Connection connection = connect();
                Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("SELECT * FROM gold.every_type ORDER BY id")) {
            ResultSetMetaData data = rows.getMetaData();
            for (int i = 1; i <= data.getColumnCount(); i++) {
                same(data.getColumnName(i), data.getColumnLabel(i));
            }
            same(true, rows.next());
            same(true, rows.getBoolean("boolean"));
            same(-32768, rows.getInt("smallint"));
            same(-2147483648, rows.getInt("integer"));
            same(Long.MIN_VALUE, rows.getLong("bigint"));
            same(0.1, rows.getDouble("double"));
            same(new BigDecimal("-9999999999.99"), rows.getBigDecimal("decimal_12"));
            same(new BigDecimal("12345678901234567890123456789012345.678"), rows.getBigDecimal("decimal_38"));
            same("été, l'hiver 🏃", rows.getString("text"));
            same(2, rows.getBytes("bytes").length);
            same("2024-02-29", rows.getDate("day").toString());
            same(123456000, rows.getTimestamp("moment").getNanos());
            for (int i = 1; i <= data.getColumnCount(); i++) {
                same(true, rows.getObject(i) != null);
            }
            same(true, rows.next());
            for (int i = 2; i <= data.getColumnCount(); i++) {
                same(null, rows.getObject(i));
                same(true, rows.wasNull());
            }
        }
    }

    static void prepared() throws Exception {
        String sql = "SELECT id FROM gold.every_type WHERE id >= ? AND (text = ? OR text IS NULL) AND day IS NOT DISTINCT FROM ?";
        try (Connection connection = connect();
                PreparedStatement statement = connection.prepareStatement(sql)) {
            same(3, statement.getParameterMetaData().getParameterCount());
            for (int from : new int[] {1, 3}) {
                statement.setLong(1, from);
                statement.setString(2, "été, l'hiver 🏃");
                statement.setDate(3, Date.valueOf("2024-02-29"));
                try (ResultSet rows = statement.executeQuery()) {
                    same(from == 1, rows.next());
                }
            }
            statement.setLong(1, 2);
            statement.setString(2, "");
            statement.setNull(3, Types.DATE);
            try (ResultSet rows = statement.executeQuery()) {
                same(true, rows.next());
                same(2L, rows.getLong(1));
            }
        }
        StringBuilder many = new StringBuilder("SELECT ");
        for (int i = 0; i < 12; i++) {
            many.append(i == 0 ? "" : ", ").append("CAST(? AS BIGINT) AS c").append(i);
        }
        try (Connection connection = connect();
                PreparedStatement statement = connection.prepareStatement(many.toString())) {
            for (int i = 0; i < 12; i++) {
                statement.setString(i + 1, String.valueOf(i));
            }
            try (ResultSet rows = statement.executeQuery()) {
                same(true, rows.next());
                for (int i = 0; i < 12; i++) {
                    same((long) i, rows.getLong(i + 1));
                }
            }
        }
    }

    static void escapes() throws Exception {
        try (Connection connection = connect(); Statement statement = connection.createStatement()) {
            String sql = "SELECT {fn UCASE('a')} AS a, {d '2024-02-29'} AS b, {fn TIMESTAMPDIFF(SQL_TSI_DAY, {d '2024-02-28'}, {d '2024-03-01'})} AS c";
            try (ResultSet rows = statement.executeQuery(sql)) {
                same(true, rows.next());
                same("A", rows.getString(1));
                same("2024-02-29", rows.getDate(2).toString());
                same(2L, rows.getLong(3));
            }
        }
    }

    static void million() throws Exception {
        try (Connection connection = connect();
                Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("SELECT value, 'row ' || value AS label FROM range(0, 1000000)")) {
            long count = 0;
            long total = 0;
            while (rows.next()) {
                count++;
                total += rows.getLong(1);
            }
            same(1_000_000L, count);
            same(499_999_500_000L, total);
        }
    }

    static void cancelled() throws Exception {
        String endless = "SELECT a.value FROM range(0, 1000000) a CROSS JOIN range(0, 1000000) b";
        try (Connection connection = connect(); Statement statement = connection.createStatement()) {
            ResultSet rows = statement.executeQuery(endless);
            same(true, rows.next());
            statement.cancel();
        } catch (SQLException ended) {
            // What the driver says of its own cancel is no matter.
        } catch (IllegalStateException leaked) {
            // The driver reports memory that it leaks after a cancel.
        }
        try (Connection connection = connect();
                Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("SELECT 1 AS n")) {
            same(true, rows.next());
        }
    }

    static void mistakes() throws Exception {
        try (Connection connection = connect(); Statement statement = connection.createStatement()) {
            same(true, statement.executeQuery("SELECT 1 AS n").next());
            for (String sql : List.of("SELECT nowhere FROM gold.every_type", "SELEC 1", "SELECT * FROM gold.every_typ", "DELETE FROM gold.every_type")) {
                try {
                    statement.executeQuery(sql);
                    throw new AssertionError("not refused: " + sql);
                } catch (SQLException refused) {
                    if (refused.getMessage().contains("INTERNAL")) {
                        throw new AssertionError(sql + ": " + refused.getMessage());
                    }
                }
            }
        }
    }

    static void session() throws Exception {
        String[] properties = {"catalog", "sportlake", "schema", "gold", "user", "anna", "password", "secret"};
        Connection connection = connect(properties);
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("SELECT count(*) AS n FROM every_type")) {
            same(true, rows.next());
            same(2L, rows.getLong(1));
        }
        try {
            connection.close();
        } catch (SQLException late) {
            // With a catalog the driver ends its session after it ended the channel.
        }
    }
}
