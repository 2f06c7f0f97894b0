// Package translate owns the wire format: it turns a model.Model into xDS v3
// resources, deterministically and without I/O. It must not know where the model
// came from (file, Kubernetes) nor who is connected. Pure functions; any
// goroutine may call them. controlplane.Run does; node/xds reads this comment.
//
// The semantics are Envoy's own, so that an Envoy could be driven by this output
// and a node by any xDS server. Where a Culvert node needs a word that Envoy has
// not, it is a string in filter_metadata["culvert.dev"], which an Envoy ignores.
//
// # Names
//
//	Listener               "namespace/service:port"   port is the Service's port number
//	RouteConfiguration     the Listener's name
//	Cluster                "namespace/service:port"   every TCP port of every Service that may be a backend, headless ones too
//	ClusterLoadAssignment  the Cluster's name (eds_cluster_config.service_name is empty)
//	Workload               the uid (api/v1)
//	route                  "namespace/httproute/rule" rule is rules[].name, else its index; a rule with several
//	                       matches is several routes of one name
//	invalid-backend        a cluster name that is never sent: the share of an invalid backendRef (InvalidBackend)
//
// Only TCP ports are sent. Headless Services have no Listener (their clients dial
// pods, which is not captured), but have Clusters. ExternalName has neither.
//
// # Listener, one per Service port
//
//	address.socket_address           the first ClusterIP and the port (address text, port_value; protocol TCP)
//	additional_addresses[].address   the other ClusterIP of a dual-stack Service
//	bind_to_port                     false: an origin that clients dial, not an address to bind
//	traffic_direction                OUTBOUND
//	metadata["culvert.dev"]          stance: "open" or "closed"; always there
//
// What the port speaks is told by which filters there are:
//
//	opaque  filter_chains = [tcp]. Balanced in the kernel; the proxy does not see it.
//	http    filter_chains = [http]. No default_filter_chain, no listener filter.
//	detect  listener_filters = [envoy.filters.listener.http_inspector],
//	        filter_chains = [http with filter_chain_match.application_protocols ["http/1.0", "http/1.1"]],
//	        default_filter_chain = tcp; continue_on_listener_filters_timeout = true.
//
// tcp is exactly one filter, envoy.filters.network.tcp_proxy, with cluster = the
// Listener's own name. http is exactly one filter,
// envoy.filters.network.http_connection_manager, with http_filters =
// [envoy.filters.http.router] and upgrade_configs = [websocket], and either
//
//	route_config  no HTTPRoute is attached: inline, one virtual host, one route {name "", match.prefix "/",
//	              route.cluster = the Listener's own name, timeout 0s}; all goes to the Service's own backend
//	rds           an HTTPRoute is attached: config_source.ads, route_config_name = the Listener's name
//
// In every form the Service's own backend is the Cluster with the Listener's name,
// and it is sent.
//
// # RouteConfiguration
//
// One virtual host, name = the RouteConfiguration's name, domains ["*"] (GAMMA
// ignores hostnames). routes are in Gateway API precedence: the first that matches
// wins. No catch-all is added: none matches, 404.
//
// RouteMatch (always exactly one path specifier):
//
//	prefix "/"               PathPrefix "/", or no path given
//	path_separated_prefix    any other PathPrefix, its trailing "/" cut
//	path                     Exact
//	safe_regex.regex         RegularExpression, whole path
//	headers[]                name (lower-cased) + string_match.exact or string_match.safe_regex (whole value)
//	headers[] ":method"      string_match.exact: the method
//	query_parameters[]       name + string_match.exact or string_match.safe_regex
//
// Header changes, on Route (of the rule) and on WeightedCluster.ClusterWeight (of
// one backendRef): request_headers_to_add, request_headers_to_remove,
// response_headers_to_add, response_headers_to_remove. In *_to_add the append_action
// tells set (OVERWRITE_IF_EXISTS_OR_ADD) from add (APPEND_IF_EXISTS_OR_ADD). Values
// are Envoy format strings: a "%" is sent as "%%". They are also set on redirects
// and direct responses. Names that frame a message (Content-Length, Connection and
// the like) are refused before they come here.
//
// Action route (RouteAction):
//
//	cluster               one backendRef, valid, weight over 0, no filters of its own
//	weighted_clusters     all else; clusters[].name, weight; invalid refs are name "invalid-backend"; entries with
//	                      weight 0 are left out; the same name may come twice
//	cluster_not_found_response_code  INTERNAL_SERVER_ERROR, always: "invalid-backend", and a cluster that is gone, is 500
//	timeout               always set; 0s is none
//	host_rewrite_literal  URLRewrite.hostname
//	path_rewrite          URLRewrite ReplaceFullPath; "%" as "%%"; the query stays
//	prefix_rewrite        URLRewrite ReplacePrefixMatch. Under path_separated_prefix it has no trailing "/";
//	                      under prefix "/" it has one ("/" -> "/xyz/")
//	regex_rewrite         only for ReplacePrefixMatch "" or "/" under path_separated_prefix P, where a plain prefix
//	                      rewrite would give "//b" or "" (GEP-726): pattern.regex = "^" + regexp.QuoteMeta(P) + "/?",
//	                      substitution "/"
//	retry_policy          where rule.retry or timeouts.backendRequest is set:
//	  per_try_timeout             backendRequest; unset: none
//	  retry_on                    with rule.retry "connect-failure,refused-stream,reset", and ",retriable-status-codes"
//	                              when codes are given; "" without rule.retry (only per_try_timeout counts)
//	  num_retries                 retry.attempts, default 1; 0 without rule.retry
//	  retriable_status_codes      retry.codes
//	  retry_back_off              base_interval = retry.backoff (default 25ms; 0s is sent as 1ms), max_interval = 10 x base.
//	                              A node waits base + jitter(0 to base doubled each time), at most max_interval:
//	                              retry.backoff is a minimum. (An Envoy's jitter starts from 0.)
//
// Action redirect (RedirectAction), where the rule has a RequestRedirect:
//
//	scheme_redirect, host_redirect, port_redirect    only those that are given. No port: the well-known one of the
//	                                                 scheme if one is given, else the port that the client dialled
//	path_redirect                                    ReplaceFullPath (no format string)
//	prefix_rewrite / regex_rewrite                   as above
//	response_code                                    MOVED_PERMANENTLY (301), FOUND (302, the default), SEE_OTHER (303),
//	                                                 TEMPORARY_REDIRECT (307), PERMANENT_REDIRECT (308)
//
// Action direct_response, status 500, metadata["culvert.dev"].reason =
// "no_backend": no backendRef has a weight over 0, or the rule has a filter
// that is not supported. When every share is invalid it is this too.
//
// # Cluster
//
//	type EDS; eds_cluster_config.eds_config {ads {}, resource_api_version V3}
//	lb_policy ROUND_ROBIN
//	connect_timeout           1s
//	outlier_detection         consecutive_5xx 5, base_ejection_time 1s, max_ejection_time 60s, max_ejection_percent 100,
//	                          enforcing_consecutive_5xx 100, enforcing_success_rate 0. (A node doubles the ejection time;
//	                          an Envoy multiplies it by the number of ejections.)
//	circuit_breakers          thresholds = [{priority DEFAULT, max_connections, max_pending_requests, max_requests and
//	                          max_retries 4294967295 (no limit, not Envoy's 1024), retry_budget {budget_percent 20,
//	                          min_retry_concurrency 3}}]
//	metadata["culvert.dev"]   session_affinity: "ClientIP" where the Service asks for it (noted, a node need not honour it)
//
// # ClusterLoadAssignment
//
// endpoints = one LocalityLbEndpoints without locality (none when there are no
// endpoints), lb_endpoints sorted by address, load_balancing_weight 1, health_status:
//
//	HEALTHY    ready
//	DRAINING   serving but not ready (terminating): only when no endpoint is HEALTHY (KEP-1669)
//	UNHEALTHY  neither: gets nothing, keeps what it has
//
// A dual-stack Service's endpoints are those of its primary family, so that a pod
// counts once; where that family has none, the other's. Opaque ports carry both
// families: the kernel balances within the family of the origin.
package translate
