#!/usr/bin/perl

# The dashboard and the rules against what nginx and the worker tell: each query of each panel is asked of a real
# Prometheus that has scraped both under traffic; each metric that is named exists; each alert has its section in
# the runbook and its unit tests, which promtool runs.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use Test::More;

use Nucleus::Metrics;
use Nucleus::Prometheus;
use Nucleus::Test;

my $root = $Nucleus::Test::ROOT;
my $dir = "$root/monitoring";

my $t = Nucleus::Test->new(
    keys      => 1,
    api       => 'unix:%%DIR%%/worker.sock',
    pipeline  => 'batch_time 50ms;',
    http      => 'keepalive_timeout 0;',
    locations => <<'END',
        location = /metrics        { nucleus_status; }
        location = /worker/metrics { proxy_pass http://unix:%%DIR%%/worker.sock:/metrics; }
        location = /limited        { nucleus auto; nucleus_limit key rate=1r/s burst=1; }
END
);

$t->start;

my $key = $t->registry->key(tenant => 'north');
$t->wait_for('nginx knows the key', 10, sub { !@{ $t->registry->json('snapshot')->{behind} } });

# ---- promtool

my $rules = $t->read_file("$dir/prometheus/nucleus.rules.yml");
my @alerts = $rules =~ /^ +- alert: (\w+)$/mg;
my @records = $rules =~ /^ +- record: (\S+)$/mg;
cmp_ok(scalar @alerts, '>', 25, 'alerts');

for my $check ([ qw(check rules), "$dir/prometheus/nucleus.rules.yml" ], [ qw(check config), "$dir/prometheus/prometheus.yml" ],
    [ qw(test rules), glob "$dir/prometheus/tests/*.yml" ])
{
    my ($status, $out) = $t->run([ 'promtool', @$check ], seconds => 300);
    ok($status == 0 && $out !~ /FAILED/, "promtool $check->[0] $check->[1]") or diag($out);
}

# ---- each alert

my $tests = join '', map { $t->read_file($_) } glob "$dir/prometheus/tests/*.yml";
my $operations = $t->read_file("$root/docs/operations.md");
my $monitoring = $t->read_file("$root/docs/monitoring.md");

for my $name (@alerts) {
    my ($alert) = $rules =~ /^ +- alert: $name\n(.*?)(?=^ +- alert:|^  #|\z)/ms;
    my ($severity) = $alert =~ /^ +severity: (\w+)$/m;
    like($severity // '', qr/^(?:page|ticket)\z/, "$name: a severity");
    like($alert, qr/^ +runbook_url: docs\/operations\.md#\L$name\E$/m, "$name: a link to its section");
    my ($section) = $operations =~ /^### $name\n(.*?)(?=^##)/ms;
    cmp_ok(length($section // ''), '>', 100, "$name: the section says what to do");
    like($monitoring, qr/^\| \[$name\]\(operations\.md#\L$name\E\) \| $severity \|/m, "$name: in the table");
    like($tests, qr/alertname="$name"/, "$name: promtool fires it");
}

my %alert = map { $_ => 1 } @alerts;
is(join(' ', grep { !$alert{$_} } $operations =~ /^### (Nucleus\w+)$/mg), '', 'no section for one that is not there');

# ---- a Prometheus with something to show

my @node = ("# TYPE nucleus_check_success gauge\nnucleus_check_success 1\n# TYPE nucleus_check_duration_seconds gauge\n",
    "nucleus_check_duration_seconds 0.1\n# TYPE nucleus_check_timestamp_seconds gauge\nnucleus_check_timestamp_seconds ");
$t->write_file('node.prom', join '', @node, time, "\n");

my $p = Nucleus::Prometheus->new($t);
$p->start or BAIL_OUT('Prometheus does not start');

sub send_some {
    $t->post('/events', '[{},{},{}]', headers => $key->{bearer});
    $t->post('/events', '{"pad":"' . 'x' x 300_000 . '"}', headers => $key->{bearer});
    $t->post('/events', '{', headers => $key->{bearer});
    $t->post('/events', '{}');
    $t->post('/limited', '{}', headers => $key->{bearer}) for 1 .. 2;
}

$t->wait_for('there is a past, which the rules have looked at', 90, sub {
    send_some();
    my $before = $p->query('job:nucleus_events_accepted:increase1h offset 16s');
    return ref $before && @$before;
});

# ---- the panels

my $dashboard = JSON::PP->new->utf8->decode($t->read_file("$dir/grafana/nucleus.json"));
my %variable = map { $_->{name} => 1 } @{ $dashboard->{templating}{list} };
my (@targets, %id);

for my $panel (@{ $dashboard->{panels} }) {
    ok(!$id{ $panel->{id} }++, "panel $panel->{id} \"$panel->{title}\" has an id of its own");
    push @targets, map { [ $panel->{title}, $_->{expr} ] } @{ $panel->{targets} // [] };
}

cmp_ok(scalar @targets, '>', 50, 'queries');

# As Grafana does, for "All"; and its hours are seconds here.
sub filled_in {
    my ($expr) = @_;

    $expr =~ s/\$__rate_interval/4s/g;
    $expr =~ s/=~"\$(\w+)"/$variable{$1} ? '=~".*"' : die "no variable $1\n"/ge;
    $expr =~ s/\[1h\]/[8s]/g;
    $expr =~ s/offset 1w/offset 16s/g;
    die "left over in $expr\n" if $expr =~ /\$/;

    return $expr;
}

my %missing;
$t->wait_for('each query has an answer', 60, sub {
    send_some();
    %missing = ();

    for my $target (@targets) {
        my $answer = $p->query(filled_in($target->[1]));
        $missing{"$target->[0]: $target->[1]"} = ref $answer ? 'nothing' : $answer if !ref $answer || !@$answer;
    }

    return !%missing;
});

# none is excused: what counts faults is there, and 0
is(join("\n", map { "$_: $missing{$_}" } sort keys %missing), '', 'each query of each panel has data');

for my $variable (grep { $_->{type} eq 'query' } @{ $dashboard->{templating}{list} }) {
    my ($series, $label) = $variable->{query}{query} =~ /^label_values\((.+), (\w+)\)$/;
    my $answer = $p->query(filled_in("count by ($label) ($series)"));
    ok(ref $answer && grep({ length($_->{$label} // '') } @$answer), "the variable $variable->{name} has values");
}

# ---- names

my @pages = map { Nucleus::Metrics->new($t->get($_)->body) } qw(/metrics /worker/metrics);
my %told = map { $_ => 1 } qw(nucleus_check_success nucleus_check_duration_seconds nucleus_check_timestamp_seconds),
    map { $_->names } @pages;

my @directives = $t->read_file("$root/docs/directives.md") =~ /^### (nucleus_\w+)$/mg;
my %problem = map { $_ => 1 } $t->read_file("$root/docs/errors.md") =~ /^\| `([a-z-]+)` \| (?:\d+|any other) \|/mg;

for my $text ([ 'the rules', $rules ], [ 'the unit tests', $tests ], [ 'the dashboard', join "\n", map { $_->[1] } @targets ]) {
    my ($what, $words) = @$text;
    $words =~ s/\b\w+:nucleus_\w+(?::\w+)?//g;
    $words =~ s/^ +- (?:name|alert): .*$//mg;
    my %used = map { $_ => 1 } $words =~ /\b(nucleus_\w+)/g;
    delete @used{ 'nucleus_rules', @directives };
    cmp_ok(scalar keys %used, '>', 15, "$what name metrics");
    is(join(' ', grep { !$told{$_} } sort keys %used), '', "$what: each is told by nginx or the worker");
}

for my $record ("@{[ map { $_->[1] } @targets ]} $rules" =~ /\b(\w+:nucleus_\w+(?::\w+)?)/g) {
    fail("$record is recorded") if !grep { $_ eq $record } @records;
}

is(join(' ', grep { !$problem{$_} } map { split /\|/ } $rules =~ /problem=~?"([^"]+)"/g), '', 'problem types in the rules exist');

# each of the server's, but for the one that health alone answers, and nginx's 500
my ($servers) = $t->read_file("$root/docs/errors.md") =~ /^### Of the server\n(.*?)^### /ms;
my @servers = grep { $_ ne 'queue-starting' } $servers =~ /^\| `([a-z-]+)` \| 503/mg;

for my $list ($rules =~ /problem=~"([^"]+)"/g) {
    is(join(' ', sort split /\|/, $list), join(' ', sort @servers, 'internal-error'), "NucleusServerErrors counts all of the server's problems");
}

$t->finish;
done_testing;
