package onepass

// shape is an expression as people write it for a kind of log, with a line of that log.
type shape struct {
	name string
	expr string
	line string
	plan string // how it is executed: "straight", "choices" or "standard"
}

const (
	nginxLine = `203.0.113.77 - bob [07/Mar/2025:16:11:58 +0800] "POST /v1/cart/items/118822?coupon=spring&trace=9b1e0c7d44aa HTTP/1.1" 201 5120 "https://shop.example.org/cart" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/122.0.6261.94 Safari/537.36" 0.041 7f00c2b5d1e94c3a8e6602ab41d7`
	nginxTen  = `^(\S+) - (\S+) \[([^\]]+)\] "(\w+) (\S+) [^"]*" (\d+) (\d+) "([^"]*)" "([^"]*)" (.*)$`
	nginxSLS  = `([\d\.:]+) - (\S+) \[(\S+) \S+\] "(\w+) ([^\\"]*)" ([\d\.]+) (\d+) "([^\\"]*)" "([^\\"]*)".*`
	log4jLine = `2025-03-07 16:11:58,402 [pool-3-thread-17] WARN  org.example.billing.InvoiceWriter - Invoice 42 retried: timeout after 3000 ms`
	log4jExpr = `^(\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2},\d{3}) \[([^\]]+)\] (\w+)\s+(\S+) - (.*)$`
	startExpr = `\d+-\d+-\d+ \d+:\d+:\d+.*`
	traceLine = "\tat org.example.billing.InvoiceWriter.flush(InvoiceWriter.java:218) ~[billing-2.4.1.jar!/:2.4.1]"
)

var shapes = []shape{
	{"nginx, ten groups", nginxTen, nginxLine, "straight"},
	{"nginx, SLS documentation", nginxSLS, nginxLine, "choices"},
	{"nginx, quoted words", `^(\S+) \S+ (\S+) \[([^\]]*)\] "(\S+) (\S+) (\S+)" (\d{3}) (\d+|-) "([^"]*)" "([^"]*)" (\S+) (\S+)$`, nginxLine, "choices"},
	{"nginx, all lazy", `^(.*?) - (.*?) \[(.*?)\] "(.*?) (.*?) (.*?)" (.*?) (.*?) "(.*?)" "(.*?)" (.*?) (.*?)$`, nginxLine, "choices"},
	{"nginx, all greedy", `^(.*) - (.*) \[(.*)\] "(.*) (.*) (.*)" (\d+) (\d+) "(.*)" "(.*)" (.*)$`, nginxLine, "choices"},
	{"apache combined, escaped quotes", `^(?P<host>[^ ]*) [^ ]* (?P<user>[^ ]*) \[(?P<time>[^\]]*)\] "(?P<method>\S+)(?: +(?P<path>(?:[^"]|\\.)*?)(?: +\S*)?)?" (?P<code>[^ ]*) (?P<size>[^ ]*)(?: "(?P<referer>(?:[^"]|\\.)*)" "(?P<agent>(?:[^"]|\\.)*)")?`, nginxLine, "choices"},
	{"apache combined, optional parts", `^(\S+) (\S+) (\S+) \[([\w:/]+\s[+\-]\d{4})\] "(\S+)\s?(\S+)?\s?(\S+)?" (\d{3}|-) (\d+|-)\s?"?([^"]*)"?\s?"?([^"]*)?"?.*$`, nginxLine, "choices"},
	{"log4j", log4jExpr, log4jLine, "straight"},
	{"log4j, not anchored", `(\d+-\d+-\d+ \d+:\d+:\d+[.,]\d+)\s+\[(.*?)\]\s+(\w+)\s(.*?)\s-\s(.*)`, log4jLine, "choices"},
	{"logback, level by name", `^(\S+ \S+) +(TRACE|DEBUG|INFO|WARN|ERROR) (\d+) --- \[\s*([^\]]*)\] (\S+)\s+: (.*)$`, `2025-03-07 16:11:58.402  WARN 1 --- [   scheduling-1] o.e.billing.InvoiceWriter        : Invoice 42 retried`, "choices"},
	{"syslog, RFC 3164", `^<(\d+)>(\w{3}\s+\d+ \d+:\d+:\d+) (\S+) ([^\[:\s]+)(?:\[(\d+)\])?: (.*)$`, `<86>Mar  7 16:11:58 gateway02 sshd[24117]: Accepted publickey for deploy from 198.51.100.4 port 50122`, "straight"},
	{"syslog, RFC 5424", `^<(\d{1,3})>(\d{1,2}) (\S+) (\S+) (\S+) (\S+) (\S+) (-|\[.*\]) (.*)$`, `<134>1 2025-03-07T08:11:58.402Z gateway02.example.org proxy 811 ID12 [origin ip="198.51.100.4"][meta n="7"] upstream [b] chosen`, "choices"},
	{"klog", `^([IWEF])(\d{4} \d{2}:\d{2}:\d{2}\.\d{6})\s+(\d+) ([^:\s]+):(\d+)\] (.*)$`, `W0307 16:11:58.402113   24117 reflector.go:539] list failed: "pods" is forbidden`, "straight"},
	{"IIS", `^(\S+ \S+) (\S+) (\S+) (\S+) (\S+) (\d+) (\S+) (\S+) (\S+) (\S+) (\d+) (\d+) (\d+) (\d+)$`, `2025-03-07 16:11:58 192.0.2.10 GET /catalog/list.aspx page=3 443 - 198.51.100.4 Mozilla/5.0+(X11;+Linux) https://shop.example.org/ 304 0 0 78`, "straight"},
	{"container runtime", `^(\S+) (stdout|stderr) ([FP]) (.*)$`, `2025-03-07T16:11:58.402113559+08:00 stderr P half of a long line`, "straight"},
	{"envoy", `^\[([^\]]+)\] "(\S+) (.*?) (\S+)" (\d+) (\S+) (\d+) (\d+) (\d+) (-|\d+) "([^"]*)" "([^"]*)" "([^"]*)" "([^"]*)" "([^"]*)"$`, `[2025-03-07T16:11:58.402Z] "PUT /files/my report HTTP/2" 204 - 811 0 37 36 "198.51.100.4" "okhttp/4.12" "c0ffee-01" "files.local" "192.0.2.31:8443"`, "choices"},
	{"mysql slow log", `^# User@Host: (\w+)\[(\w*)\] @\s+(\S*)\s*\[([\d.]*)\]\s+Id:\s+(\d+)$`, `# User@Host: report[report] @ etl.local [192.0.2.44]  Id:  90817`, "choices"},
	{"optional groups", `^(?:\[(\w+)\] )?(\w+)=(\d+)(?:ms)?(?: (\S+))?$`, `[cache] ttl=3000ms evicted`, "straight"},
	{"words, not anchored", `(\w+)\s(.*?)\s(\d+)`, `disk usage of volume 7 is 93 percent`, "choices"},
	{"case folded", `^(?i)\[(error|warn|info|notice)\] (.*)$`, `[Notice] worker restarted`, "straight"},
	{"loop over pairs", `^(?:(\w+)=(\S+) ?)+$`, `level=info ts=1741335118 msg=ok dur=0.41`, "choices"},
	{"word boundaries", `\b(ERROR|WARN)\b.*?(\d+)`, `16:11:58 main WARN queue length 512 over limit 500`, "choices"},
	{"first line of several", startExpr, log4jLine, "straight"},
	{"java exception", `^(\S+Exception): (.*)\n((?:\tat .*\n?)+)`, "java.io.UncheckedIOException: disk full\n\tat a.B.c(B.java:7)\n\tat d.E.f(E.java:19)\n", "choices"},
	{"dotted quad", `^((?:\d{1,3}\.){3}\d{1,3}) (.*)$`, `198.51.100.4 connected`, "straight"},
	{"text beyond ASCII", `^用户:(.*?),操作:(.*)$`, `用户:李雷,操作:退出`, "choices"},
	{"class beyond ASCII", `^(\p{Han}+) (.*)$`, `订单 已支付`, "straight"},
	{"several lines, (?m)", `(?m)^(\w+): (.*)$`, "# head\nkey: value\nother: x", "straight"},
	{"loop that can be empty", `^(?:(\w*),?)*$`, `a,b,,c`, "standard"},
}
