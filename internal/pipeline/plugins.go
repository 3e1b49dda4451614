package pipeline

import (
	"fmt"
	"slices"
	"strings"
)

// The plug-ins of this version, by the names of LoongCollector.
const (
	TypeInputFile        = "input_file"
	TypeInputFileOnce    = "input_static_file_onetime"
	TypeParseRegex       = "processor_parse_regex_native"
	TypeParseJSON        = "processor_parse_json_native"
	TypeParseDelimiter   = "processor_parse_delimiter_native"
	TypeParseTimestamp   = "processor_parse_timestamp_native"
	TypeFilterRegex      = "processor_filter_regex_native"
	TypeFlusherSLS       = "flusher_sls"
	TypeFlusherFile      = "flusher_file"
	TypeFlusherStdout    = "flusher_stdout"
	TypeFlusherBlackhole = "flusher_blackhole"
)

var (
	inputTypes     = []string{TypeInputFile, TypeInputFileOnce}
	processorTypes = []string{TypeParseRegex, TypeParseJSON, TypeParseDelimiter, TypeParseTimestamp, TypeFilterRegex}
	flusherTypes   = []string{TypeFlusherSLS, TypeFlusherFile, TypeFlusherStdout, TypeFlusherBlackhole}
)

// What LoongCollector has and this version has not, so that a message can tell
// a name that is not supported yet from one that does not exist.
var (
	laterInputs = strings.Fields(`
		input_container_stdio input_forward input_host_monitor input_host_meta input_internal_metrics
		input_internal_alarms input_internal_config_container_info input_prometheus input_network_observer
		input_network_security input_process_security input_file_security input_cpu_profiling input_agentsight
		service_canal metric_binlog service_docker_stdout service_docker_stdout_v2 service_docker_stdout_raw
		input_docker_rawstdout service_docker_event metric_container_info service_journal service_syslog
		service_udp_server service_http_server service_otlp service_lumberjack service_kafka service_mqtt
		service_skywalking_agent_v2 service_skywalking_agent_v3 service_skywalking_agent_v3_http service_jmx
		service_mysql service_mssql service_pgsql service_snmp service_telegraf service_prometheus
		service_gpu_metric service_go_profile service_kubernetes_meta metric_meta_kubernetes metric_meta_host
		metric_http metric_input_netping metric_nginx_status metric_redis metric_system metric_system_v2
		metric_process_v2 input_command service_wineventlog service_etw metric_mock service_mock
		metric_debug_file`)
	laterProcessors = strings.Fields(`
		processor_parse_apsara_native processor_desensitize_native processor_timestamp_filter_native processor_spl
		processor_add_fields processor_anchor processor_appender processor_base64_encoding
		processor_base64_decoding processor_cloud_meta processor_csv processor_default processor_desensitize
		processor_dict_map processor_drop processor_drop_last_key processor_encrypt processor_fields_with_condition
		processor_fields_with_conditions processor_filter_regex processor_filter_key_regex processor_geoip
		processor_gotime processor_strptime processor_grok processor_json processor_log_to_sls_metric
		processor_md5 processor_otel_metric processor_otel_trace processor_packjson processor_pick_key
		processor_rate_limit processor_regex processor_rename processor_split_char processor_split_string
		processor_split_key_value processor_split_log_regex processor_split_log_string processor_string_replace`)
	laterFlushers = strings.Fields(`
		flusher_kafka_native flusher_prometheus flusher_checker flusher_clickhouse flusher_doris
		flusher_elasticsearch flusher_grpc flusher_http flusher_kafka flusher_kafka_v2 flusher_loki flusher_otlp
		flusher_pulsar flusher_sleep flusher_statistics`)
)

// unknownType is what is said of a plug-in type that cannot be used.
func unknownType(family, name string, known, later []string) string {
	if name == "" {
		return fmt.Sprintf("Type is missing; the %s types are: %s", family, oneOf(known))
	}
	if slices.Contains(later, name) {
		return fmt.Sprintf("is a plug-in of LoongCollector that is not supported yet; the %s types are: %s", family, oneOf(known))
	}
	hint := ""
	if near := nearest(name, known); near != "" {
		hint = fmt.Sprintf("did you mean %s? ", near)
	}
	return fmt.Sprintf("unknown %s type; %sthe %s types are: %s", family, hint, family, oneOf(known))
}
