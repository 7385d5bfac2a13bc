// Signs in with the Arrow Flight SQL JDBC driver in every way, and in ways that are refused; then stays over a restart.
//
// Usage: java --add-opens=java.base/java.nio=ALL-UNNAMED -cp DRIVER.jar SignInWays.java HOST:PORT PASSWORD TOKEN EXPIRED TAKEN_BACK
//
// Prints "connected" when it holds connections, and waits for a line: the server is to start again meanwhile.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;

public class SignInWays {
    static final String SEEN = "SELECT texte FROM gold.visible";

    static String address;

    static Connection connect(String... properties) throws SQLException {
        Properties all = new Properties();
        all.put("useEncryption", "false");
        for (int i = 0; i < properties.length; i += 2) {
            all.put(properties[i], properties[i + 1]);
        }
        return DriverManager.getConnection("jdbc:arrow-flight-sql://" + address, all);
    }

    static List<String> rows(Connection connection, String sql) throws SQLException {
        List<String> found = new ArrayList<>();
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(sql)) {
            while (rows.next()) {
                found.add(rows.getString(1));
            }
        }
        return found;
    }

    static void same(Object expected, Object found) {
        if (!expected.equals(found)) {
            throw new AssertionError("expected " + expected + ", found " + found);
        }
    }

    // All that an exception says, causes and all.
    static String words(Throwable problem) {
        StringBuilder words = new StringBuilder();
        for (Throwable at = problem; at != null; at = at.getCause()) {
            words.append(at.getMessage()).append('\n');
        }
        return words.toString();
    }

    static void refused(String message, String sql, String... properties) {
        List<String> found;
        try (Connection connection = connect(properties)) {
            found = rows(connection, sql);
        } catch (Exception problem) {
            String words = words(problem);
            if (!words.contains(message) || words.contains("secret") || words.contains("INTERNAL")) {
                throw new AssertionError(message + ": " + words, problem);
            }
            return;
        }
        throw new AssertionError("not refused: " + message + ": " + found);
    }

    public static void main(String[] arguments) throws Exception {
        address = arguments[0];
        String password = arguments[1];
        String token = arguments[2];
        String[][] ways = {
            {"user", "anne", "password", password},
            {"token", token},
            {"user", "anyone", "password", token},
        };
        for (String[] way : ways) {
            try (Connection connection = connect(way)) {
                same(List.of("vu"), rows(connection, SEEN));
            }
        }

        refused("nobody is signed in", SEEN);
        refused("the user or the password is wrong", SEEN, "user", "anne", "password", "wrong horse");
        refused("the user or the password is wrong", SEEN, "user", "nobody", "password", password);
        refused("the token has expired", SEEN, "token", arguments[3]);
        refused("the token was taken back", SEEN, "token", arguments[4]);
        refused("the token is not valid", SEEN, "token", token.substring(0, token.length() - 4) + "AAAA");
        refused("gold.cache' not found", "SELECT * FROM gold.cache", ways[0]);
        refused("gold.visible' not found", SEEN, "user", "bob", "password", password);

        List<Connection> connections = new ArrayList<>();
        for (String[] way : ways) {
            connections.add(connect(way));
            same(List.of("vu"), rows(connections.get(connections.size() - 1), SEEN));
        }
        System.out.println("connected");
        new BufferedReader(new InputStreamReader(System.in)).readLine();
        for (Connection connection : connections) {
            List<String> found = null;
            // The first call may meet the channel that broke.
            for (int attempt = 1; found == null; attempt++) {
                try {
                    found = rows(connection, SEEN);
                } catch (SQLException broken) {
                    if (attempt == 3 || words(broken).contains("UNAUTHENTICATED")) {
                        throw broken;
                    }
                }
            }
            same(List.of("vu"), found);
            connection.close();
        }
        refused("the token has expired", SEEN, "token", arguments[3]);
    }
}
