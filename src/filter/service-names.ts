/**
 * Names of services and of IP protocols: the assignments of IANA that Debian's netbase 6.4 lists. One line a number;
 * a service is `name/protocols`, with t for TCP, u for UDP and s for SCTP.
 */
const SERVICES = `
1 tcpmux/t
7 echo/tu
9 discard/tu sink/tu null/tu
11 systat/t users/t
13 daytime/tu
15 netstat/t
17 qotd/t quote/t
19 chargen/tu ttytst/tu source/tu
20 ftp-data/t
21 ftp/t fsp/u fspd/u
22 ssh/t
23 telnet/t
25 smtp/t mail/t
37 time/tu timserver/tu
43 whois/t nicname/t
49 tacacs/tu
53 domain/tu
67 bootps/u
68 bootpc/u
69 tftp/u
70 gopher/t
79 finger/t
80 http/t www/t
88 kerberos/tu kerberos5/tu krb5/tu kerberos-sec/tu
102 iso-tsap/t tsap/t
104 acr-nema/t dicom/t
106 poppassd/t
110 pop3/t pop-3/t
111 sunrpc/tu portmapper/tu
113 auth/t authentication/t tap/t ident/t
119 nntp/t readnews/t untp/t
123 ntp/u
135 epmap/t loc-srv/t
137 netbios-ns/u
138 netbios-dgm/u
139 netbios-ssn/t
143 imap2/t imap/t
161 snmp/tu
162 snmp-trap/tu snmptrap/tu
163 cmip-man/tu
164 cmip-agent/tu
174 mailq/t
177 xdmcp/u
179 bgp/t
199 smux/t
209 qmtp/t
210 z3950/t wais/t
213 ipx/u
319 ptp-event/u
320 ptp-general/u
345 pawserv/t
346 zserv/t
369 rpc2portmap/tu
370 codaauth2/tu
371 clearcase/u Clearcase/u
389 ldap/tu
427 svrloc/tu
443 https/tu
444 snpp/t
445 microsoft-ds/t
464 kpasswd/tu
465 submissions/t ssmtp/t smtps/t urd/t
487 saft/t
500 isakmp/u
512 exec/t biff/u comsat/u
513 login/t who/u whod/u
514 shell/t cmd/t syslog/tu
515 printer/t spooler/t
517 talk/u
518 ntalk/u
520 route/u router/u routed/u
538 gdomap/tu
540 uucp/t uucpd/t
543 klogin/t
544 kshell/t krcmd/t
546 dhcpv6-client/u
547 dhcpv6-server/u
548 afpovertcp/t
554 rtsp/tu
563 nntps/t snntp/t
587 submission/t
607 nqs/t
623 asf-rmcp/u
628 qmqp/t
631 ipp/t
636 ldaps/tu
646 ldp/tu
655 tinc/tu
706 silc/t
749 kerberos-adm/t
750 kerberos4/ut kerberos-iv/ut kdc/ut
751 kerberos-master/ut kerberos_master/u
752 passwd-server/u passwd_server/u
754 krb-prop/t krb_prop/t krb5_prop/t hprop/t
775 moira-db/t moira_db/t
777 moira-update/t moira_update/t
779 moira-ureg/u moira_ureg/u
783 spamd/t
853 domain-s/tu
871 supfilesrv/t
873 rsync/t
989 ftps-data/t
990 ftps/t
992 telnets/t
993 imaps/t
995 pop3s/t
1080 socks/t
1093 proofd/t
1094 rootd/t
1099 rmiregistry/t
1127 supfiledbg/t
1178 skkserv/t
1194 openvpn/tu
1210 predict/u
1236 rmtcfg/t
1313 xtel/t
1314 xtelw/t
1352 lotusnote/t lotusnotes/t
1433 ms-sql-s/t
1434 ms-sql-m/u
1524 ingreslock/t
1645 datametrics/tu old-radius/tu
1646 sa-msg-port/tu old-radacct/tu
1649 kermit/t
1677 groupwise/t
1701 l2f/u l2tp/u
1812 radius/tu
1813 radius-acct/tu radacct/tu
2000 cisco-sccp/t
2049 nfs/tu
2086 gnunet/tu
2101 rtcm-sc104/tu
2102 zephyr-srv/u
2103 zephyr-clt/u
2104 zephyr-hm/u
2119 gsigatekeeper/t
2121 iprop/t
2135 gris/t
2401 cvspserver/t
2430 venus/tu
2431 venus-se/tu
2432 codasrv/tu
2433 codasrv-se/tu
2583 mon/tu
2600 zebrasrv/t
2601 zebra/t
2602 ripd/t
2603 ripngd/t
2604 ospfd/t
2605 bgpd/t
2606 ospf6d/t
2607 ospfapi/t
2608 isisd/t
2628 dict/t
2792 f5-globalsite/t
2811 gsiftp/t
2947 gpsd/t
3050 gds-db/t gds_db/t
3130 icpv2/u icp/u
3205 isns/tu
3260 iscsi-target/t
3306 mysql/t
3389 ms-wbt-server/t
3493 nut/tu
3632 distcc/t
3689 daap/t
3690 svn/t subversion/t
4031 suucp/t
4094 sysrqd/t
4190 sieve/t
4353 f5-iquery/t
4369 epmd/t
4373 remctl/t
4460 ntske/t
4500 ipsec-nat-t/u
4557 fax/t
4559 hylafax/t
4569 iax/u
4691 mtn/t
4899 radmin-port/t
4949 munin/t lrrd/t
5060 sip/tu
5061 sip-tls/tu
5222 xmpp-client/t jabber-client/t
5269 xmpp-server/t jabber-server/t
5308 cfengine/t
5353 mdns/u
5432 postgresql/t postgres/t
5555 rplay/u
5556 freeciv/t rptp/t
5666 nrpe/t
5667 nsca/t
5671 amqps/t
5672 amqp/ts
5680 canna/t
6000 x11/t x11-0/t
6001 x11-1/t
6002 x11-2/t
6003 x11-3/t
6004 x11-4/t
6005 x11-5/t
6006 x11-6/t
6007 x11-7/t
6346 gnutella-svc/tu
6347 gnutella-rtr/tu
6379 redis/t
6444 sge-qmaster/t sge_qmaster/t
6445 sge-execd/t sge_execd/t
6446 mysql-proxy/t
6514 syslog-tls/t
6566 sane-port/t sane/t saned/t
6667 ircd/t
6696 babel/u
6697 ircs-u/t
7000 bbs/t afs3-fileserver/u
7001 afs3-callback/u
7002 afs3-prserver/u
7003 afs3-vlserver/u
7004 afs3-kaserver/u
7005 afs3-volser/u
7007 afs3-bos/u
7008 afs3-update/u
7009 afs3-rmtsys/u
7100 font-service/t xfs/t
8021 zope-ftp/t
8080 http-alt/t webcache/t
8081 tproxy/t
8088 omniorb/t
8140 puppet/t
8990 clc-build-daemon/t
9098 xinetd/t
9101 bacula-dir/t
9102 bacula-fd/t
9103 bacula-sd/t
9418 git/t
9667 xmms2/t
9673 zope/t
10000 webmin/t
10050 zabbix-agent/t
10051 zabbix-trapper/t
10080 amanda/t
10081 kamanda/t
10082 amandaidx/t
10083 amidxtape/t
10809 nbd/t
11371 hkp/t
17001 sgi-cmsd/u
17002 sgi-crsd/u
17003 sgi-gcd/u
17004 sgi-cad/t
17500 db-lsp/t
22125 dcap/t
22128 gsidcap/t
22273 wnn6/t
24554 binkp/t
27374 asp/tu
30865 csync2/t
57000 dircproxy/t
60177 tfido/t
60179 fido/t
`;

const PROTOCOLS = `
0 ip IP hopopt HOPOPT
1 icmp ICMP
2 igmp IGMP
3 ggp GGP
4 ipencap IP-ENCAP
5 st ST
6 tcp TCP
8 egp EGP
9 igp IGP
12 pup PUP
17 udp UDP
20 hmp HMP
22 xns-idp XNS-IDP
27 rdp RDP
29 iso-tp4 ISO-TP4
33 dccp DCCP
36 xtp XTP
37 ddp DDP
38 idpr-cmtp IDPR-CMTP
41 ipv6 IPv6
43 ipv6-route IPv6-Route
44 ipv6-frag IPv6-Frag
45 idrp IDRP
46 rsvp RSVP
47 gre GRE
50 esp IPSEC-ESP
51 ah IPSEC-AH
57 skip SKIP
58 ipv6-icmp IPv6-ICMP
59 ipv6-nonxt IPv6-NoNxt
60 ipv6-opts IPv6-Opts
73 rspf RSPF CPHB
81 vmtp VMTP
88 eigrp EIGRP
89 ospf OSPFIGP
93 ax.25 AX.25
94 ipip IPIP
97 etherip ETHERIP
98 encap ENCAP
103 pim PIM
108 ipcomp IPCOMP
112 vrrp VRRP
115 l2tp L2TP
124 isis ISIS
132 sctp SCTP
133 fc FC
135 mobility-header Mobility-Header
136 udplite UDPLite
137 mpls-in-ip MPLS-in-IP
138 manet
139 hip HIP
140 shim6 Shim6
141 wesp WESP
142 rohc ROHC
143 ethernet Ethernet
262 mptcp MPTCP
`;

/** The ports of a service name, by transport protocol. */
export interface ServicePorts {
  readonly tcp?: number;
  readonly udp?: number;
  readonly sctp?: number;
}

const TRANSPORTS = { t: "tcp", u: "udp", s: "sctp" } as const;

function readServices(): ReadonlyMap<string, ServicePorts> {
  const services = new Map<string, { -readonly [K in keyof ServicePorts]: ServicePorts[K] }>();
  for (const line of SERVICES.trim().split("\n")) {
    const [port, ...names] = line.split(" ");
    for (const entry of names) {
      const slash = entry.lastIndexOf("/");
      const name = entry.slice(0, slash);
      const ports = services.get(name) ?? {};
      for (const letter of entry.slice(slash + 1)) ports[TRANSPORTS[letter as "t"]] ??= Number(port);
      services.set(name, ports);
    }
  }
  return services;
}

export const SERVICE_PORTS: ReadonlyMap<string, ServicePorts> = readServices();

export const PROTOCOL_NUMBERS: ReadonlyMap<string, number> = new Map(
  PROTOCOLS.trim()
    .split("\n")
    .flatMap((line) => {
      const [number, ...names] = line.split(" ");
      return names.map((name): [string, number] => [name, Number(number)]);
    }),
);

/** EtherTypes and LLC service access points that have names in the language. */
export const ETHER_PROTOCOLS: Readonly<Record<string, number>> = {
  aarp: 0x80f3,
  arp: 0x806,
  atalk: 0x809b,
  decnet: 0x6003,
  ip: 0x800,
  ip6: 0x86dd,
  lat: 0x6004,
  loopback: 0x9000,
  mopdl: 0x6001,
  moprc: 0x6002,
  rarp: 0x8035,
  sca: 0x6007,
  iso: 0xfe,
  stp: 0x42,
  ipx: 0xe0,
  netbeui: 0xf0,
};
