#!/usr/bin/perl

# conf-examples/log-shippers.conf and the files of shippers/: syslog-ng as Debian builds it sends log
# lines through outages and refusals, and the requests of the others, captured or from their
# documentation (t/shippers/README.md), are taken.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use Test::More;

use Nucleus::Example;
use Nucleus::Test;

my $root = $Nucleus::Test::ROOT;
my @refusals = qw(400 413 401 429 503);

# each refusal comes while the file of its name is there
my $x = Nucleus::Example->new('log-shippers.conf', 'worker.conf', edit => sub {
    my $if = join '', map { "\n            if (-f %%DIR%%/refuse-$_) { return $_; }" } @refusals;
    is(s/(location = \/logs \{)/$1$if\n            add_header Retry-After 60 always;/, 1, 'a way to refuse');
    is(s/(access_log +)\S+;/$1%%DIR%%\/access.log; log_format status '\$status \$http_user_agent'; access_log %%DIR%%\/status.log status;/, 1, 'a log');
});
my $t = $x->{t};
my $dir = $t->dir;
my $key = $x->{registry}->key(tenant => 'operations', name => 'web-1', stream => 'logs');

$t->start_nginx(ready => 0) or BAIL_OUT('nginx does not start');
$t->start_worker or BAIL_OUT('nucleus-worker does not start');
my $port = $x->port(443);

# A shipper's file as it is, but for what a test has elsewhere.
sub shipper {
    my ($name) = @_;

    my $text = $x->paths(Nucleus::Test->read_file("$root/conf-examples/shippers/$name"));
    $text =~ s/\bKEY\b(?= is)/-/g;
    is($text =~ s/\bKEY\b/$key->{key}/g, 1, "$name: one place for the key");
    is($text =~ s/events\.example:443/localhost:$port/g || $text =~ s/events\.example/localhost/g, 1, "$name: one place for the address");
    like($text, qr{[/"]?logs\b}, "$name: the location of log-shippers.conf");
    unlike($text, qr/gzip|snappy|zstd|compress(?:ion)?[ =]+(?!none)/i, "$name: nothing is compressed, which Nucleus does not take yet");
    like($text, qr{\Q$dir\E/etc/ssl/events\.pem}, "$name: the certificate is verified");

    return $text;
}

# ---- requests of those that cannot be had here

my @sent;

for my $name (qw(fluent-bit.conf fluentd.conf logstash.conf rsyslog.conf vector.yaml)) {
    my $text = shipper($name);
    my $type = replay($name =~ s/\.\w+$/.http/r);

    # the others make it of the format
    like($text, qr{\b\Q$type\E\b}, "$name: the $type that its request has") if $text =~ /content.type/i;
}

my @stored = $t->wait_events(scalar @sent);
is_deeply([ sort map { $_->{data} } @stored ], [ sort @sent ], 'each event is stored once, as it was sent');
is(scalar(grep { $_->{stream} ne 'logs' || $_->{tenant} ne 'operations' } @stored), 0, 'all are of the stream and the tenant of the key');

# Send the request of a file; its media type.
sub replay {
    my ($file) = @_;

    my $text = Nucleus::Test->read_file("$root/t/shippers/$file");
    my ($head, $body) = split /\n\n/, $text, 2;
    my @events = grep { length } split /\n/, $body;
    my $length = length $body;

    $head =~ s/\bKEY\b/$key->{key}/;
    $head =~ s/\bHOST\b/localhost:$port/;
    $head =~ s/\bLENGTH\b/$length/;
    $head =~ s/\n/\r\n/g;
    $head =~ s/\r\nConnection: [^\r]*//i;
    my $path = $t->write_file('request', "$head\r\nConnection: close\r\n\r\n$body");

    my ($status, $out) = $t->run([ 'sh', '-c', "openssl s_client -quiet -CAfile $dir/etc/ssl/events.pem -connect localhost:$port < $path 2> /dev/null"]);
    my ($answer, $json) = $out =~ /\A(.*?)\r\n\r\n(.*)\z/s;
    my $r = Nucleus::Response->new($answer // 'no answer');
    $r->{body} = $json // '';
    $t->is_receipt($r, scalar @events, "$file: taken") or diag($out);
    push @sent, @events;

    return $head =~ /^content-type: ([^;\r]+)/im ? $1 : 'no type';
}

# ---- syslog-ng, the real one

my $syslog_ng = qx($root/tools/shippers);
chomp $syslog_ng;
is($?, 0, 'tools/shippers finds syslog-ng') or BAIL_OUT('no syslog-ng');

# It waits a second instead of five before it tries again.
my $snippet = shipper('syslog-ng.conf');
is($snippet =~ s/time-reopen\(5\)/time-reopen(1)/, 1, 'syslog-ng: a second between attempts');
is($snippet =~ s/(disk-buf-size\()\d+/${1}2097152/, 1, 'syslog-ng: a small buffer');
File::Path::make_path("$dir/var/lib/syslog-ng");
$t->write_file('syslog-ng.conf', <<"END");
\@version: 3.38
source s_src { file("$dir/app.in" follow-freq(0.1)); };
$snippet
END
$t->write_file('app.in', '');

my ($modules) = glob "$syslog_ng/usr/lib/syslog-ng/[0-9]*";
my %libraries = (LD_LIBRARY_PATH => join ':', map { "$syslog_ng$_" } '/usr/lib/syslog-ng', glob('/usr/lib/*-linux-gnu'), glob('/lib/*-linux-gnu'));
my @command = ("$syslog_ng/usr/sbin/syslog-ng", "--module-path=$modules", '-F', '--no-caps', '--stderr', '-f', "$dir/syslog-ng.conf",
    '-R', "$dir/syslog-ng.persist", '-c', "$dir/syslog-ng.ctl", "--pidfile=$dir/syslog-ng.pid");

sub start_syslog_ng {
    my $before = length $t->read_file('syslog-ng.out');

    $t->spawn('syslog-ng', \@command, env => \%libraries);
    $t->wait_for('syslog-ng starts', 30, sub {
        return index($t->read_file('syslog-ng.out'), 'syslog-ng starting up', $before) >= 0 || $t->ended('syslog-ng');
    });
    ok($t->pid('syslog-ng'), 'syslog-ng runs');
}

my %sent;

sub feed {
    my (@names) = @_;

    open my $fh, '>>', "$dir/app.in" or die "open failed: $!\n";
    print {$fh} map { "<13>Nov 21 20:00:00 web-1 app[42]: line $_ \"quoted\" \\ \xc3\xbc\n" } @names;
    close $fh or die "write failed: $!\n";
    $sent{$_} = 1 for @names;
}

# How often each line is in the store, by its name.
sub lines {
    my %times;

    for my $event ($t->events) {
        $times{$1}++ if $event->{data} =~ /"message":"line (\S+) /;
    }

    return \%times;
}

sub arrive {
    my ($what, @names) = @_;

    $t->wait_for($what, 40, sub { my $times = lines(); !grep { !$times->{$_} } @names });
    pass($what);
}

sub status_lines { return scalar(() = $t->read_file('status.log') =~ /^$_[0] syslog-ng/mg) }

start_syslog_ng();
feed(map { "a$_" } 1 .. 300);
arrive('syslog-ng: 300 lines', map { "a$_" } 1 .. 300);

my ($event) = grep { $_->{data} =~ /line a7 / } $t->events;
my $data = JSON::PP->new->utf8->decode($event->{data});
is($data->{message}, "line a7 \"quoted\" \\ \x{fc}", 'syslog-ng: the message');
is("$data->{program} $data->{pid} $data->{severity} $data->{facility}", 'app 42 notice user', 'syslog-ng: its fields');
like($data->{time}, qr/^\d{4}-11-21T20:00:00[+-]\d\d:\d\d$/, 'syslog-ng: the time');
like($data->{id}, qr/^[0-9a-f]+\@[0-9a-f]{16}$/, 'syslog-ng: an id');
is($event->{id}, $data->{id}, 'syslog-ng: which is the id of the event');

# nginx away and back, then syslog-ng too
feed('reload');
$t->reload(wait => 0);
arrive('syslog-ng: through a reload', 'reload');
is($t->stop('nginx'), 0, 'nginx ends');
feed(map { "b$_" } 1 .. 50);
$t->wait_for('syslog-ng notices', 30, sub { $t->read_file('syslog-ng.out') =~ /error sending HTTP request/ });
is($t->stop('syslog-ng', 'TERM'), 0, 'syslog-ng ends');
feed('while-none-ran');
start_syslog_ng();
$t->start_nginx(ready => 0) or BAIL_OUT('nginx does not start again');
arrive('syslog-ng: nothing is lost while nginx is away', (map { "b$_" } 1 .. 50), 'while-none-ran');

# refusals
my %kept;

for my $status (@refusals) {
    my $before = status_lines($status);
    $t->write_file("refuse-$status", '');
    feed("r$status");
    $t->wait_for("syslog-ng gets $status", 30, sub { status_lines($status) > $before });
    # and again, once so often that a limit of attempts would show: the default is 3
    my $often = $status == 503 ? 4 : 1;
    $status =~ /^4(?:00|13)/
        or $t->wait_for("syslog-ng: again after $status", 30, sub { status_lines($status) >= $before + 1 + $often });
    unlink "$dir/refuse-$status";
    feed("then$status");
    arrive("syslog-ng: what comes after $status", "then$status");
    $kept{$status} = lines()->{"r$status"} ? 'sends it again' : 'drops it';
    delete $sent{"r$status"} if $kept{$status} eq 'drops it';
}

# as the manual has it
my $manual = Nucleus::Test->read_file("$root/docs/shippers.md");
my ($row) = $manual =~ /^## When Nucleus refuses\n.*?^\| syslog-ng \|([^\n]*)\|$/ms;
my @cells = map { s/^\s+|\s+$//gr } split /\|/, $row // '';

for my $i (0 .. $#refusals) {
    is($cells[$i] // '', $kept{ $refusals[$i] }, "docs/shippers.md: syslog-ng and $refusals[$i]");
}

# a tenant that is disabled for a while
$x->{registry}->must('tenant', 'disable', 'operations');
my $before = status_lines(403);
feed('disabled');
$t->wait_for('syslog-ng gets 403', 30, sub { status_lines(403) > $before });
$x->{registry}->must('tenant', 'enable', 'operations');
arrive('syslog-ng: what was refused with 403 is sent again', 'disabled');

my $times = lines();
is(join(' ', grep { !$times->{$_} } sort keys %sent), '', 'syslog-ng: nothing is lost');
is(join(' ', grep { $times->{$_} > 1 } sort keys %$times), '', 'syslog-ng: nothing is stored twice');

$t->stop('syslog-ng', 'TERM');
$t->finish;
done_testing;
