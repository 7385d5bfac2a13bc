use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Schema;
use arrow_flight::sql::{
    CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetTables, CommandGetXdbcTypeInfo,
    CommandStatementQuery, ProstMessageExt, SqlInfo,
};
use arrow_flight::{FlightDescriptor, IpcMessage};
use prost::Message;
use tonic::Code;

use super::{Running, fetch, rows, status};

fn texts(batches: &[RecordBatch], column: usize) -> Vec<String> {
    let mut all = Vec::new();
    for batch in batches {
        let values = batch.column(column).as_string::<i32>();
        all.extend(values.iter().flatten().map(str::to_owned));
    }
    all
}

#[tokio::test]
async fn catalogs_schemas_tables_and_keys_are_listed() {
    let mut running = Running::start().await;
    let client = &mut running.client;
    let info = client.get_catalogs().await.expect("told");
    let batches = fetch(client, info).await.expect("listed");
    assert_eq!(texts(&batches, 0), ["sportlake"]);

    let info = client
        .get_db_schemas(CommandGetDbSchemas::default())
        .await
        .expect("told");
    let batches = fetch(client, info).await.expect("listed");
    assert_eq!(texts(&batches, 1), ["bronze", "main", "system"]);

    let info = client.get_table_types().await.expect("told");
    let batches = fetch(client, info).await.expect("listed");
    assert_eq!(texts(&batches, 0), ["TABLE", "VIEW"]);

    let command = CommandGetPrimaryKeys {
        table: "employees".to_owned(),
        ..CommandGetPrimaryKeys::default()
    };
    let info = client.get_primary_keys(command).await.expect("told");
    let batches = fetch(client, info).await.expect("listed");
    assert_eq!(texts(&batches, 3), ["_partition", "_offset"]);
}

#[tokio::test]
async fn a_listed_schema_is_what_a_select_yields() {
    let mut running = Running::start().await;
    let command = CommandGetTables {
        include_schema: true,
        db_schema_filter_pattern: Some("bronze".to_owned()),
        ..CommandGetTables::default()
    };
    let info = running.client.get_tables(command).await.expect("told");
    let batches = fetch(&mut running.client, info).await.expect("listed");
    assert_eq!(texts(&batches, 2), ["dead_letters", "employees"]);
    assert_eq!(texts(&batches, 3), ["VIEW", "TABLE"]);
    let bytes = batches[0].column(4).as_binary::<i32>().value(1).to_vec();
    let listed: Schema = IpcMessage(bytes.into()).try_into().expect("a schema");

    let sql = "SELECT * FROM bronze.employees".to_owned();
    let info = running.client.execute(sql, None).await.expect("plans");
    let selected = info.try_decode_schema().expect("a schema");
    let of = |schema: &Schema| -> Vec<(String, String)> {
        let fields = schema.fields().iter();
        fields
            .map(|field| (field.name().clone(), field.data_type().to_string()))
            .collect()
    };
    assert_eq!(of(&listed), of(&selected));
    assert!(
        listed
            .fields()
            .iter()
            .all(|field| !field.metadata().is_empty())
    );
}

#[tokio::test]
async fn both_catalogs_say_the_same_of_each_table() {
    let mut running = Running::start().await;
    let info = running.client.get_tables(CommandGetTables::default()).await;
    let listed = fetch(&mut running.client, info.expect("told")).await;
    let listed = listed.expect("listed");
    let sql = "SELECT table_schema, table_name, replace(table_type, 'BASE ', '') AS kind
               FROM information_schema.tables WHERE table_schema <> 'information_schema'
               ORDER BY table_schema, table_name";
    let info = running.client.execute(sql.to_owned(), None).await;
    let selected = fetch(&mut running.client, info.expect("plans")).await;
    let selected = selected.expect("rows");
    for (of_list, of_sql) in [(1, 0), (2, 1), (3, 2)] {
        assert_eq!(texts(&listed, of_list), texts(&selected, of_sql));
    }
}

#[tokio::test]
async fn what_the_server_can_do_is_told() {
    let mut running = Running::start().await;
    let client = &mut running.client;
    let info = client.get_sql_info(Vec::new()).await.expect("told");
    assert_eq!(rows(&fetch(client, info).await.expect("listed")), 91);
    let wanted = vec![SqlInfo::FlightSqlServerReadOnly];
    let info = client.get_sql_info(wanted).await.expect("told");
    assert_eq!(rows(&fetch(client, info).await.expect("listed")), 1);
    let info = client
        .get_xdbc_type_info(CommandGetXdbcTypeInfo::default())
        .await;
    let batches = fetch(client, info.expect("told")).await.expect("listed");
    assert_eq!(rows(&batches), 13);
}

#[tokio::test]
async fn a_malformed_command_is_the_clients_mistake() {
    let mut running = Running::start().await;
    let query = CommandStatementQuery {
        query: "SELECT 1".to_owned(),
        transaction_id: None,
    };
    let mut any = query.as_any();
    any.value = b"\xff\xff\xff".as_slice().into();
    for cmd in [any.encode_to_vec(), b"\xff".to_vec()] {
        let descriptor = FlightDescriptor::new_cmd(cmd);
        let refused = running.client.inner_mut().get_flight_info(descriptor).await;
        assert_eq!(
            status(refused.expect_err("refused")).code(),
            Code::InvalidArgument
        );
    }
}
