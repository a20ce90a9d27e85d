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

use Nucleus::Docs;
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
    like($section // '', qr/^```nginx\n(?:(?!^```).*\n)*?.*\b$name(?: .+)?;.*\n(?:(?!^```).*\n)*?^```$/m, "$name: an example");
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

# ---- the worker's directives: sources, docs/worker.md and the manual page agree, with their defaults

my $conf = text_of('ngx_nucleus_module/worker/nuc_worker_conf.c');
my $conf_h = text_of('ngx_nucleus_module/worker/nuc_worker_conf.h');
my $file_sink = text_of('ngx_nucleus_module/sink/nuc_sink_file.c');
my $worker = text_of('docs/worker.md');
my $manual = text_of('docs/nucleus-worker.conf.5');

# by block: names and defaults in the sources; '' where there is none
my %worker_default = (
    state        => $conf_h =~ /NUC_WORKER_STATE_DEFAULT "(.+)"/,
    api          => $conf_h =~ /NUC_WORKER_API_DEFAULT +"(.+)"/ ? "unix:$1" : 'unknown',
    error_log    => $conf =~ /log_level/ && 'stderr info',
    (map { $_ => '*' } qw(tenants streams kinds)),
    start        => 'earliest',
    batch_size   => $conf =~ /batch_size = 8 \* 1024 \* 1024;/ ? '8m' : 'unknown',
    batch_events => $conf =~ /batch_events = (\d+);/,
    batch_time   => $conf =~ /batch_time = (\d+)000;/ ? "$1s" : 'unknown',
);
my %of_sources;

for my $block ([ top => 'nuc_worker_commands' ], [ queue => 'nuc_queue_commands' ], [ pipeline => 'nuc_pipeline_commands' ]) {
    $of_sources{"$block->[0] $_"} = $worker_default{$_} // '' for table($conf, $block->[1]) =~ /\{"(\w+)",/g;
}

my $file_options = table($file_sink, 'nuc_sink_file_option_table');

while ($file_options =~ /\{"(\w+)", NUC_SINK_\w+, (?:NULL|"([^"]*)"),/g) {
    $of_sources{"file $1"} = $2 // '';
}

cmp_ok(scalar keys %of_sources, '>', 14, 'the directives of the worker are found');

# of worker.md: the tables of its sections; "queue log { path DIR; }" is one row
my %of_worker;

for my $section ([ top => 'Top level' ], [ pipeline => 'In a pipeline' ], [ file => 'sink file' ]) {
    my ($text) = $worker =~ /^### $section->[1]\n(.*?)(?=^##)/ms;

    $text //= '';

    while ($text =~ /^\| `(\w+)\b([^`]*)` \| ([^|]*) \|/mg) {
        my ($name, $rest, $value) = ($1, $2, $3);
        $of_worker{"$section->[0] $name"} = $value =~ /^`(.*)`$/ ? $1 : '';
        $of_worker{"queue $1"} = '' if $name eq 'queue' && $rest =~ /\{ (\w+)/;
    }
}

my %of_manual;

for my $section ([ top => 'Top level' ], [ queue => 'The block queue log' ], [ pipeline => 'The block pipeline' ], [ file => 'The block sink file' ]) {
    my ($text) = $manual =~ /^\.Ss $section->[1]\n(.*?)(?=^\.S[hs])/ms;

    for my $item (split /^(?=\.It )/m, $text // '') {
        my ($name) = $item =~ /^\.It Cm (\w+)/ or next;
        $of_manual{"$section->[0] $name"} = $item =~ /^Default:\n\.(?:Pa|Li) (.+?)(?: ?\.)?$/m ? $1 : '';
    }
}

is_deeply(\%of_worker, \%of_sources, 'docs/worker.md has the directives of the sources, with their defaults');
is_deeply(\%of_manual, \%of_sources, 'nucleus-worker.conf(5) has the directives of the sources, with their defaults');

for my $page (glob "$root/docs/*.[1-8]") {
    my ($code, $out) = $t->run([ 'sh', '-c', 'LC_ALL=C.UTF-8 man --warnings -l "$0" > /dev/null', $page ]);
    ok($code == 0 && $out eq '', basename($page) . ': man has no warnings') or diag($out);
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

my @md = map { "$root/$_" } Nucleus::Docs::files();

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

# ---- parts of configurations, in what they need around them

# What the level is for that a part belongs to.
sub wrapped {
    my ($part) = @_;

    my $http_only = qr/nucleus_(?:queue|registry|zone|max_inflight)|log_format|map|limit_req_zone/;
    my ($first) = $part =~ /^\s*(?:#.*\n\s*)*(\w+)/;
    my ($http, $server) = $first eq 'server' || $first =~ /^$http_only$/ ? ($part, '') : ('', $part);

    $http .= "\nnucleus_queue log /var/lib/nucleus/queue;" if $part !~ /nucleus_queue/;
    $http .= "\nnucleus_registry /var/lib/nucleus/registry.snapshot;" if $part !~ /nucleus_registry/;

    return "load_module x;\nevents {}\nhttp {\n$http\nserver {\nlisten 127.0.0.1:8080;\nserver_name around.it;\n$server\n"
        . "location = /around-it { nucleus auto; }\n}\n}\n";
}

my $parts = 0;

for my $name (Nucleus::Docs::files()) {
    for my $block (Nucleus::Docs::blocks($name)) {
        my $text = $block->{text};
        next if $block->{lang} ne 'nginx' && !(!$block->{fenced} && $text =~ /\A\s*nucleus_\w+ [^;]+;\n*\z/);
        next if $text =~ /\A# complete\n/;

        $parts++;
        $t->write_confs(nginx => nginx_conf(wrapped($text)));
        ($status, $out) = $t->nginx_test;
        ok($status == 0 && $out !~ /\[(?:emerg|warn)\]/, "$name:$block->{line}: this part is accepted") or diag("$text$out");
    }
}

cmp_ok($parts, '>', 15, 'there are parts of configurations');

cmp_ok($tried{$_}, '>', 0, "there are whole configurations for $_") for sort keys %tried;

# ---- commands of ours, wherever they stand, are commands that the programs know

# What a program's help says: option => number of its arguments.
sub options_of {
    my ($help) = @_;

    my %arguments;

    while ($help =~ /^  (-[\w-]+)(?:, (--[\w-]+))?((?: [A-Z][\w.\/:]*(?:\[:BURST\])?)*)(?:  |\n)/mg) {
        my @names = grep { defined } $1, $2;
        my $count = () = $3 =~ /\S+/g;
        $arguments{$_} = $count for @names;
    }

    return \%arguments;
}

my ($worker_help) = ($t->run([ Nucleus::Test::worker_binary(), '--help' ]))[1];
my $worker_options = options_of($worker_help);
cmp_ok(scalar keys %$worker_options, '>', 12, 'the options of nucleus-worker');

my ($ctl_help) = ($t->run([ Nucleus::Test::ctl_binary(), '--help' ]))[1];
my %ctl;

while ($ctl_help =~ /^  ([a-z]+(?: [a-z]+)?)((?: [A-Z]+)*)  /mg) {
    my ($command, @arguments) = ($1, split ' ', $2);
    my ($help) = ($t->run([ Nucleus::Test::ctl_binary(), split(/ /, $command), '--help' ]))[1];
    $ctl{$command} = { positional => scalar @arguments, options => options_of($help) };
}

cmp_ok(scalar keys %ctl, '>', 18, 'the commands of nucleusctl');

# What is wrong with a command line?  In running text the end may be left out.
sub wrong_with {
    my ($line, $in_text) = @_;

    my ($program, @words) = ($line =~ tr/[]//dr) =~ /("[^"]*"|'[^']*'|\S+)/g;
    my ($options, $positional) = ($worker_options, 0);

    if ($program eq 'nucleusctl') {
        return if !@words || $in_text && $words[0] =~ /^--/;

        # what stands before the command
        while (@words && $words[0] =~ /^--/) {
            my $option = shift @words;
            shift @words if $option eq '--registry';
            return if $option =~ /^--(?:help|version)$/;
        }

        my $name = join ' ', @words[0, 1 < @words ? 1 : 0];
        $name = $words[0] // '' if !$ctl{$name};
        my $command = $ctl{$name} or return "nucleusctl has no command \"$name\"";
        splice @words, 0, scalar(split / /, $name);
        ($options, $positional) = @$command{qw(options positional)};
    }

    my $given = 0;

    while (@words) {
        my $word = shift @words;

        if ($word =~ /^(-[\w-]+)(=?)/) {
            my $count = $options->{$1} // return "$program has no option $1 here";
            $count-- if $2;
            return "$1 has no value" if @words < $count && !$in_text;
            splice @words, 0, $count < @words ? $count : scalar @words;

        } else {
            $given++;
        }
    }

    return if $given == $positional || $in_text && $given < $positional;

    return "$given arguments instead of $positional";
}

# the test would see a mistake
is(wrong_with('nucleus-worker --verify /x --jsn'), 'nucleus-worker has no option --jsn here', 'a mistyped option is seen');
is(wrong_with('nucleus-worker --find'), '--find has no value', 'so is a value that is missing');
is(wrong_with('nucleusctl key destroy x'), 'nucleusctl has no command "key"', 'so is a command that is not there');
is(wrong_with('nucleusctl key show'), '0 arguments instead of 1', 'so is an argument that is missing');

my $lines = 0;
my $ours = qr/(?:[\w.\/]*\/)?(nucleusctl|nucleus-worker)\b/;

for my $name (Nucleus::Docs::files()) {
    my @found;

    for my $block (grep { $_->{lang} =~ /^(?:sh|ini|)$/ } Nucleus::Docs::blocks($name)) {
        for my $command (Nucleus::Docs::commands($block)) {
            # as the command, behind runuser, sudo and the like, or in a unit
            push @found, [ "$1$2", 0 ] while $command =~ /(?:^|&& |\| |-- |sudo |=)\s*$ours((?: (?![|&>])\S+)*)/g;
        }
    }

    my $text = Nucleus::Test->read_file("$root/$name") =~ s/^```.*?^```//msgr;
    push @found, [ "$1$2", 1 ] while $text =~ /`$ours( [^`|&;]+)`/g;

    my @wrong = map { my $wrong = wrong_with(@$_); $wrong ? "$_->[0]: $wrong" : () } @found;
    ok(!@wrong, "$name: its " . @found . ' commands of ours are valid') or diag(join "\n", @wrong);
    $lines += @found;
}

cmp_ok($lines, '>', 60, 'there are commands of ours');

$t->finish;
done_testing;
