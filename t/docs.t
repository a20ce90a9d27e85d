#!/usr/bin/perl

# The documentation against the sources: every directive, problem type, media type and alarm is there,
# none that does not exist is, links lead somewhere, and whole configurations are accepted.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Basename qw(basename dirname);
use File::Path ();
use Test::More;

use Nucleus::Test;

my $root = $Nucleus::Test::ROOT;
my $t = Nucleus::Test->new;

sub text_of {
    my ($name) = @_;

    my $text = $t->read_file("$root/$name");
    ok(length $text, "$name is there");

    return $text;
}

# Two lists of names must be the same, and not empty.
sub same {
    my ($got, $want, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my (%got, %want);
    @got{@$got} = ();
    @want{@$want} = ();
    my @missing = grep { !exists $got{$_} } sort keys %want;
    my @unknown = grep { !exists $want{$_} } sort keys %got;

    ok(%want && !@missing && !@unknown, $name)
        or diag("not documented: @missing\ndocumented, but not in the sources: @unknown");
}

# The text between a beginning and the end of the initializer.
sub table {
    my ($text, $begin) = @_;

    my ($table) = $text =~ /\Q$begin\E\[\]\s*=\s*\{\n(.*?)^\};/ms;
    ok(length($table // ''), "the table $begin is found");

    return $table // '';
}

# ---- directives

my $module = text_of('ngx_nucleus_module/http/ngx_http_nucleus_module.c');
my $directives = text_of('docs/directives.md');

my @commands = table($module, 'ngx_http_nucleus_commands') =~ /ngx_string\("(\w+)"\)/g;
same([ $directives =~ /^### (\w+)$/mg ], \@commands, 'each directive has a section');

for my $name (@commands) {
    my ($section) = $directives =~ /^### $name\n(.*?)(?=^##)/ms;
    my @rows = ($section // '') =~ /^\| (syntax|default|context) \| .+ \|$/mg;
    is("@rows", 'syntax default context', "$name: syntax, default, context");
    like($section // '', qr/^\| syntax \| `$name[ `]/m, "$name: its syntax");
}

my @options = $module =~ /ngx_strncmp\(value->data, "(\w+=)"/g;
my ($queue) = $directives =~ /^### nucleus_queue\n(.*?)(?=^##)/ms;
same([ $queue =~ /^\| `(\w+=)` \|/mg ], \@options, 'each parameter of nucleus_queue');

for my $enum (qw(formats healths)) {
    my $directive = $enum eq 'formats' ? 'nucleus' : 'nucleus_health';
    my ($syntax) = $directives =~ /^\| syntax \| `$directive ([^`]*)` \|$/m;
    same([ ($syntax // '') =~ /(\w+)/g ],
        [ table($module, "ngx_http_nucleus_$enum") =~ /ngx_string\("(\w+)"\)/g ],
        "the values of $directive");
}

my %default = (
    nucleus_max_event_size  => qr/max_event_size,\s+1024 \* 1024\);/,
    nucleus_max_events      => qr/prev->max_events, 1000\);/,
    nucleus_max_event_depth => qr/prev->max_depth, 64\);/,
    nucleus_max_inflight    => qr/max_inflight, 128 \* 1024 \* 1024\);/,
    'max_size='             => qr/max_size, \(off_t\) 10 \* 1024 \* 1024 \* 1024\);/,
    'min_free='             => qr/min_free, 1024 \* 1024 \* 1024\);/,
    'segment='              => qr/segment, 64 \* 1024 \* 1024\);/,
    'timeout='              => qr/timeout, 5000\);/,
);
my %documented = (
    nucleus_max_event_size => '1m',  nucleus_max_events => '1000', nucleus_max_event_depth => '64',
    nucleus_max_inflight   => '128m', 'max_size='        => '10g',  'min_free='             => '1g',
    'segment='             => '64m', 'timeout='         => '5s',
);

for my $name (sort keys %default) {
    like($module, $default{$name}, "$name: the default in the sources is the one that this test knows");
    my $place = $name =~ /=$/ ? qr/^\| `\Q$name\E` \| `\Q$documented{$name}\E` \|/m
        : qr/^### $name\n.*?^\| default \| `\Q$documented{$name}\E` \|$/ms;
    like($directives, $place, "$name: its default is documented");
}

# ---- problem types

my $answer = text_of('ngx_nucleus_module/http/ngx_http_nucleus_answer.c');
my $errors = text_of('docs/errors.md');

my (%status, @types);

for my $name (qw(ngx_http_nucleus_types ngx_http_nucleus_statuses)) {
    my $table = table($answer, $name);

    while ($table =~ /\{\s*(\d+),\s*"([a-z-]+)",/g) {
        $status{$2} //= $1 || 'any other';
        push @types, "$2 " . $status{$2};
    }
}

cmp_ok(scalar keys %status, '>', 30, 'the problem types are found');

my ($listed) = $errors =~ /^### What to do\n(.*)/ms;
my @rows = ($listed // '') =~ /^\| `([a-z-]+)` \| (\d+|any other) \|/mg;
my @documented_types;
push @documented_types, join ' ', splice @rows, 0, 2 while @rows;
same(\@documented_types, \@types, 'each problem type, with its status');

my %mentioned;

for my $name ('README.md', map { "docs/$_.md" } qw(directives errors operations security delivery)) {
    my $text = $t->read_file("$root/$name");
    $mentioned{$1} = $name while $text =~ /urn:nucleus:problem:([a-z-]+)/g;
    $mentioned{$1} = $name while $text =~ /\b(?:400|405|413|415|503) `([a-z-]+)`/g;
}

for my $name (sort keys %mentioned) {
    ok(exists $status{$name}, "$name in $mentioned{$name} is a problem type");
}

# ---- media types and headers

my $format = text_of('ngx_nucleus_module/formats/nuc_format.c');
my @media = table($format, 'nuc_format_media_types') =~ /\{"([^"]+)"/g;
my ($requests) = $errors =~ /^## Requests\n(.*?)(?=^## )/ms;
same([ map { /`(application\/[\w-]+)`/g } $requests =~ /^(\| `application.*)$/mg ],
    \@media, 'each media type');

my $headers = text_of('ngx_nucleus_module/http/ngx_http_nucleus_headers.c');

for my $name (table($headers, 'ngx_http_nucleus_headers') =~ /ngx_string\("([\w-]+)"\)/g) {
    like($errors, qr/`\Q$name\E`/i, "the header $name");
}

# ---- alarms

my $operations = text_of('docs/operations.md');

# A string constant that may go over several lines.
my $literal = qr/((?:"(?:\\.|[^"\\])*"\s*)+)/;

sub value_of {
    my ($constant) = @_;

    my $value = join '', $constant =~ /"((?:\\.|[^"\\])*)"/g;

    return $value =~ s/\\"/"/gr;
}

my @alarms;

for my $file (glob "$root/ngx_nucleus_module/worker/*.c") {
    my $text = $t->read_file($file);
    my $level = qr/NUC_LEVEL_(?:WARN|ERROR|ALERT)/;

    push @alarms, map { value_of($_) } $text =~ /$level,\s*$literal/g;
    push @alarms, map { value_of($_) } map { /$literal/g } $text =~ /$level,\s*\w[^;"]*\? ($literal\s*: $literal),/g;
    push @alarms, map { value_of($_) }
        map { /$literal/g } $text =~ /nuc_worker_log\(\s*level,\s*([^;]*?)NUC_FIELD/gs;
    push @alarms, map { value_of($_) } $text =~ /nuc_worker_log_trouble\(&[\w>.-]+,\s*$literal/g;
}

my @logged;

for my $file (glob "$root/ngx_nucleus_module/http/*.c") {
    my $text = $t->read_file($file);
    push @logged, map { value_of($_) } $text =~ /ngx_log_error\((?!NGX_LOG_EMERG, cf)[^;"]*?$literal/g;
}

cmp_ok(scalar @alarms, '>', 12, 'the messages of the worker are found');
cmp_ok(scalar @logged, '>', 7, 'the messages of the module are found');

for my $alarm (sort keys %{ { map { $_ => 1 } @alarms } }) {
    ok(index($operations, "`$alarm`") >= 0 || index($operations, "`$alarm,") >= 0, "operations.md explains: $alarm");
}

# values are an ellipsis there
for my $message (sort keys %{ { map { $_ => 1 } @logged } }) {
    my $value = qr/%[a-zA-Z]+/;
    my @parts = map { quotemeta } grep { /\w{2}/ } map { s/^[\s":;]+|[\s":;]+$//gr } split $value, $message;
    my $span = join '[^`]*', @parts;
    like($operations, qr/`$span[^`]*`/, "operations.md explains: $message");
}

# ---- metrics of the worker

{
    my $text = $t->read_file("$root/ngx_nucleus_module/worker/nuc_metrics.c");
    my ($from_worker) = $t->read_file("$root/docs/metrics.md") =~ /^## From the worker\n(.*?)(?=^## |\z)/ms;
    my (@have, @said);

    while ($text =~ /nuc_metric_t nuc_metric_\w+ = \{\s*"(\w+)",\s*NUC_METRIC_(\w+),/g) {
        my ($name, $type) = ($1, lc $2);
        push @have, $name . ($type eq 'counter' ? '_total' : '') . " $type";
    }

    push @said, "$1 $2" while ($from_worker // '') =~ /^\| `(nucleus_\w+)`(?: \\\*)? \| (\w+) \|/mg;
    cmp_ok(scalar @have, '>', 15, 'the metrics of the worker are found');
    same(\@said, \@have, 'each metric of the worker, with its type');
}

# ---- links

sub anchor {
    my ($heading) = @_;

    $heading =~ s/`//g;
    $heading = lc $heading;
    $heading =~ s/[^\w\- ]//g;
    $heading =~ tr/ /-/;

    return $heading;
}

sub anchors {
    my ($file) = @_;

    my $text = $t->read_file($file);
    $text =~ s/^```.*?^```//msg;

    return { map { anchor($_) => 1 } $text =~ /^#+ (.+)$/mg };
}

my @md;

for my $dir ('', qw(docs/ conf-examples/ docker/ t/ tools/ ngx_nucleus_module/), 'ngx_nucleus_module/*/') {
    push @md, glob "$root/$dir*.md";
}

cmp_ok(scalar @md, '>', 4, 'there are .md files');

for my $file (@md) {
    my $text = $t->read_file($file);
    (my $name = $file) =~ s{^\Q$root\E/}{};
    $text =~ s/^```.*?^```//msg;
    $text =~ s/`[^`\n]*`//g;
    my @broken;

    while ($text =~ /\]\(([^)\s]+)\)/g) {
        my ($target, $fragment) = split /#/, $1, 2;
        next if $target =~ /^[a-z]+:/;

        my $path = length $target ? dirname($file) . "/$target" : $file;

        if (!-e $path) {
            push @broken, $1;

        } elsif (defined $fragment && !anchors($path)->{$fragment}) {
            push @broken, "$target#$fragment";
        }
    }

    ok(!@broken, "$name: its links lead somewhere") or diag(map { "$_\n" } @broken);
}

# ---- configurations that are whole

my $dir = $t->dir;

# What they name lies below the temporary directory, and no process of theirs is started.
sub elsewhere {
    my ($conf) = @_;

    $conf =~ s{^load_module .*$}{load_module %%MODULE%%;}m;
    $conf =~ s{(?<=\s)/(?=(?:etc|run|srv|usr|var)/)}{$dir/}g;
    $conf =~ s{(listen\s+)(?:127\.0\.0\.1:)?\d+}{${1}127.0.0.1:%%PORT%%}g;
    $conf =~ s{^user .*\n}{}m;
    $conf =~ s{^pid .*\n}{}m;

    return $conf;
}

sub nginx_conf {
    my ($conf) = @_;

    my $temp = join ' ', map { "${_}_temp_path $dir/$_;" } qw(client_body proxy fastcgi uwsgi scgi);
    $conf = elsewhere($conf);
    $conf =~ s{^http \{\n}{http \{\n    $temp\n}m;
    $conf =~ s{^(http \{\n)}{$1    access_log $dir/access.log;\n}m if $conf !~ /^    access_log/m;

    return "%%USER%%\npid $dir/nginx.pid;\n$conf";
}

File::Path::make_path(map { "$dir/$_" } qw(etc/nucleus etc/ssl/private var/log/nginx var/lib/nucleus run));
$t->write_file('etc/nucleus/htpasswd', "somebody:{PLAIN}secret\n");

my ($status, $out) = $t->run([ qw(openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost),
        '-keyout', "$dir/etc/ssl/private/events.key", '-out', "$dir/etc/ssl/events.pem" ]);
is($status, 0, 'a certificate for the examples') or diag($out);
$t->write_file('etc/nucleus/agents-ca.pem', $t->read_file('etc/ssl/events.pem'));

Nucleus::Registry->new($t, "$dir/var/lib/nucleus");

my %tried = (nginx => 0, worker => 0);

for my $file (@md) {
    my $text = $t->read_file($file);
    my $number = 0;

    while ($text =~ /^```nginx\n# complete\n(.*?)^```/msg) {
        my $conf = $1;
        my $name = basename($file) . ', configuration ' . ++$number;

        if ($conf =~ /^pipeline /m) {
            $tried{worker}++;
            $t->write_confs(worker => elsewhere($conf));
            ($status, $out) = $t->worker('-t');

        } else {
            $tried{nginx}++;
            $t->write_confs(nginx => nginx_conf($conf));
            ($status, $out) = $t->nginx_test;
        }

        ok($status == 0 && $out !~ /\[(?:emerg|warn)\]/, "$name is accepted") or diag($out);
    }
}

cmp_ok($tried{$_}, '>', 0, "there are whole configurations for $_") for sort keys %tried;

$t->finish;
done_testing;
