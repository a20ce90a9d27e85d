#!/usr/bin/perl

# No secret anywhere: not in a file, not among the arguments or in the environment of a process, not in
# an answer, and not in the memory of a process but where nginx has read it into.

use strict;
use warnings;
no warnings 'portable';          # addresses have 64 bits

use File::Copy qw(move);
use FindBin;
use MIME::Base64 qw(encode_base64);
use Test::More;

use lib "$FindBin::Bin/lib";
use Nucleus::Test;

my $t = Nucleus::Test->new(
    keys    => 1,
    workers => 2,
    main    => 'working_directory %%DIR%%;',
    env     => { ASAN_OPTIONS => join ':', grep { length } $ENV{ASAN_OPTIONS} // '', 'disable_coredump=0' },
);
my ($dir, $port) = ($t->dir, $t->free_port);

$t->make_certificate;
$t->write_confs(
    server    => <<"END",
        listen              127.0.0.1:$port ssl;
        ssl_certificate     $dir/cert.pem;
        ssl_certificate_key $dir/key.pem;
        nucleus_auth_delay  0;
        access_log          $dir/combined.log combined;
END
    http      => 'limit_req_zone $server_port zone=none:1m rate=1r/m;',
    locations => <<'END',
        location = /query   { nucleus json; nucleus_auth_argument api_key; }
        location = /limited { nucleus json; nucleus_auth_argument api_key; limit_req zone=none; }
        location = /basic   { nucleus json; satisfy any; auth_basic events; auth_basic_user_file %%DIR%%/users; }
END
);
$t->write_file('users', "somebody:{PLAIN}else\n");

my $registry = $t->registry;
my (@secrets, @answers, @seen);

# What of a key is secret: neither the id nor the sum.
sub secret {
    my ($key) = @_;

    $key =~ /^nuc_[0-9a-z]{12}_([0-9A-Za-z]{43})[0-9A-Za-z]{6}$/ or die "no key: $key\n";
    push @secrets, $1;

    return $1;
}

# ---- nucleusctl: while it runs, and what it says

# Its output, and its arguments and environment as they are from its start to its end.
sub ctl {
    my (@args) = @_;

    my $pid = open(my $out, '-|', Nucleus::Test::ctl_binary(), '--registry', $registry->database, @args)
        // die "nucleusctl: $!\n";
    my $seen = '';

    $t->wait_for('nucleusctl ends', 30, sub {
        $seen .= $t->read_file("/proc/$pid/$_") for qw(cmdline environ);
        return $t->read_file("/proc/$pid/stat") =~ /^\d+ \(.*\) Z/s;
    });

    my $said = join '', <$out>;
    close $out or die "nucleusctl @args: status $?\n";

    return ($said, $seen);
}

sub created {
    my (@args) = @_;

    my ($out, $seen) = ctl(@args);
    my ($key) = $out =~ /\b(nuc_[0-9a-z]{12}_\w{49})\b/ or die "no key in: $out\n";
    my $secret = secret($key);
    push @seen, $seen;
    is(scalar(() = $out =~ /\Q$secret\E/g), 1, "@args[0, 1] says it once");

    return { key => $key, id => substr $key, 4, 12 };
}

$registry->must('tenant', 'create', 'north');

my $key = created(qw(key create --tenant north --json));
my $plain = created(qw(key create --tenant north));
my $expired = created(qw(key create --tenant north --expires 1s));
my $gone = created(qw(key create --tenant north));
my $next = created('key', 'rotate', $plain->{id}, '--overlap', '1h');

for my $args ([qw(key create --tenant north)], [ qw(key rotate), $key->{id} ]) {
    my $file = "$dir/to-file-" . @secrets;
    push @seen, ctl(@$args, '--to-file', $file, '--json');
    secret($t->read_file($file) =~ s/\n\z//r);
}

push @seen, ctl(qw(key revoke), $gone->{id});

for my $args ([qw(key list)], [qw(key list --json)], [ qw(key show), $key->{id} ], [ qw(key show --json), $next->{id} ],
    [qw(audit)], [qw(audit --json)], [qw(snapshot --json)])
{
    push @seen, ctl(@$args);
}

# ---- requests, in every form

my $stranger = Nucleus::Test->new(keys => 1);
my $foreign = $stranger->registry->key;
secret($foreign->{key});
(my $mistyped = $key->{key}) =~ s/(.)$/$1 eq 'a' ? 'b' : 'a'/e;

$t->start or BAIL_OUT('does not start');
$t->wait_for('a key expires', 10, sub {
    return $t->post('/events', '{"id":"e"}', headers => [ Authorization => "Bearer $expired->{key}" ])->status == 401;
});

my $number = 0;

sub basic { return (Authorization => 'Basic ' . encode_base64("$_[0]:$_[1]", '')) }

sub send_to {
    my ($uri, @headers) = @_;

    my $r = $t->post($uri, sprintf('{"id":"s-%d"}', ++$number), headers => \@headers);
    push @answers, $r->text;

    return $r->status;
}

sub curl {
    my ($uri, @headers) = @_;

    my @lines = ("url = \"https://127.0.0.1:$port$uri\"", 'header = "Content-Type: application/json"',
        sprintf 'data = "{\"id\":\"c-%d\"}"', ++$number);

    while (my ($name, $value) = splice @headers, 0, 2) {
        push @lines, "header = \"$name: $value\"";
    }

    $t->write_file('curl.conf', join '', map { "$_\n" } @lines);
    my (undef, $out) = $t->run([ qw(curl -s -S -i -m 30 --cacert), "$dir/cert.pem", '-K', "$dir/curl.conf" ]);
    unlink "$dir/curl.conf";
    push @answers, $out;

    return $out =~ m{\AHTTP/\S+ (\d+)} ? $1 : 0;
}

for my $way ([ 'plain', \&send_to ], [ 'TLS', \&curl ]) {
    my ($how, $send) = @$way;

    for my $case ([ 202, $key ], [ 202, $next ], [ 401, $foreign ], [ 401, { id => $key->{id}, key => $mistyped } ],
        [ 401, $expired ], [ 403, $gone ])
    {
        my ($status, $k) = @$case;
        my $rest = substr $k->{key}, 17;

        is($send->('/events', Authorization => "Bearer $k->{key}"), $status, "$how, Bearer");
        is($send->('/events', Authorization => $k->{key}), $status, "$how, bare");
        is($send->('/events', 'X-API-Key' => $k->{key}), $status, "$how, X-API-Key");
        is($send->('/events', basic($k->{id}, $rest)), $status, "$how, Basic, id and secret");
        is($send->('/events', basic($k->{id}, $k->{key})), $status, "$how, Basic, id and key");
        is($send->('/events', basic($k->{key}, '')), $status, "$how, Basic, the key as user");
        is($send->('/basic', basic($k->{key}, '')), $status == 403 ? 401 : $status, "$how, beside auth_basic");
        is($send->('/events', basic($k->{key}, 'x')), 401, "$how, Basic, the key as user and a password");
        is($send->('/events', basic(substr($k->{key}, 0, 65), '')), 401, "$how, Basic, a key that is cut off");
        is($send->('/events', Authorization => 'Basic   ' . encode_base64("$k->{key}:", '')), $status, "$how, Basic and spaces");
        $send->('/limited', basic($k->{key}, ''));
        is($send->('/limited', basic($k->{key}, '')), 503, "$how, refused before the access phase");
        is($send->('/events', Authorization => "Token $k->{key}"), 401, "$how, another scheme");

        # t/auth_tls.t has it with TLS; here it would be found in OpenSSL's buffers of what has come
        next if $how eq 'TLS';

        is($send->("/query?a=b&api_key=$k->{key}&c=d"), $status, "$how, in the query");
        is($send->("/limited?api_key=$k->{key}"), 503, "$how, in the query, refused before the access phase");
    }
}

# a location that is not there, and requests that nginx refuses before it looks for one
is(send_to('/elsewhere', basic($key->{key}, '')), 404, 'no location');

for my $bad ("Host: again\r\n", "Content-Length: x\r\n", "Transfer-Encoding: x\r\n") {
    my $c = $t->client;
    $c->send("POST /events HTTP/1.1\r\nHost: a\r\n" . join(': ', basic($key->{key}, '')) . "\r\n$bad\r\n");
    my $r = $c->response;
    push @answers, $r->text;
    cmp_ok($r->status, '>=', 400, 'a request that nginx refuses');
}

# several at a time, and clients that do not wait
for (1 .. 20) {
    my $c = $t->client;
    $c->send(Nucleus::Client::text('POST', '/events',
        [ 'Content-Type' => 'application/json', Authorization => "Bearer $key->{key}" ], '{"id":"many"}') x 3);
    $c->response if $_ % 2;
    $c->reset;
}

# ---- where is it?

is(scalar @secrets, 8, 'eight secrets');

# In base64 a text begins at one of three places; what stands before and behind it is not known.
sub base64_forms {
    my ($text) = @_;

    return map { substr encode_base64(('x' x $_) . $text, ''), $_ ? 4 : 0, 52 } 0 .. 2;
}

my $any = join '|', map { quotemeta } map { ($_, base64_forms($_)) } @secrets;
$any = qr/$any/;

for my $before ('', 'a', 'ab', 'abc', "$foreign->{id}:") {
    like(encode_base64($before . substr($foreign->{key}, 17), ''), $any, "base64 is recognized behind \"$before\"");
}

is(scalar(grep { /$any/ } @seen), 0, 'nucleusctl has it in no argument and no environment, and says it once');
cmp_ok(scalar @answers, '>', 150, 'answers');
is(scalar(grep { /$any/ } @answers), 0, 'no answer has it');

my @workers = Nucleus::Test::group($t->pid('worker'));
my @pids = ($t->pid('nginx'), $t->nginx_workers, @workers);
cmp_ok(scalar @pids, '>=', 4, 'processes');

for my $pid (@pids) {
    my $text = join '', map { $t->read_file("/proc/$pid/$_") } qw(cmdline environ);
    unlike($text, $any, 'no argument and no environment: ' . Nucleus::Test::cmdline($pid));
}

# ---- memory, after the connections are closed

# What a core has: all that may be written to, and is not kept out of it.
sub regions {
    my ($pid) = @_;

    my @regions;

    for my $line (split /\n/, $t->read_file("/proc/$pid/smaps")) {
        if ($line =~ /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)$/) {
            push @regions, { at => hex $1, end => hex $2, mode => $3, name => $4 };
        }
        elsif ($line =~ /^VmFlags:.* dd\b/) {
            $regions[-1]{kept_out} = 1;
        }
    }

    my @joined;

    # a key may lie across the border of two that are beside each other
    for my $region (grep { $_->{mode} =~ /^rw/ && !$_->{kept_out} } @regions) {
        if (@joined && $joined[-1]{end} == $region->{at} && $joined[-1]{name} eq $region->{name}) {
            $joined[-1]{end} = $region->{end};
        }
        else {
            push @joined, $region;
        }
    }

    return @joined;
}

# Its size, and for each secret in it the region and what stands before it.
sub memory {
    my ($pid) = @_;

    my ($size, @hits) = (0);
    open my $fh, '<:raw', "/proc/$pid/mem" or die "open of /proc/$pid/mem failed: $!\n";

    for my $region (regions($pid)) {
        my ($text, $left) = ('', $region->{end} - $region->{at});
        sysseek $fh, $region->{at}, 0;

        while ($left > 0) {
            my $n = sysread($fh, $text, $left, length $text) or last;
            $left -= $n;
        }

        $size += length $text;
        push @hits, hits_in($text, $region->{name});
    }

    return ($size, @hits);
}

sub hits_in {
    my ($text, $name) = @_;

    my @hits;

    while ($text =~ /$any/g) {
        my $from = $-[0] < 200 ? 0 : $-[0] - 200;
        push @hits, { name => $name, before => substr $text, $from, $-[0] - $from };
    }

    return @hits;
}

# May the process leave a core, in a file of its working directory?  Where it may, it is let.
sub may_dump {
    my ($pid) = @_;

    return 0 if $t->read_file('/proc/sys/kernel/core_pattern') !~ m{^[^|/%][^/%]*\n?\z};

    my ($hard) = $t->read_file("/proc/$pid/limits") =~ /^Max core file size +\S+ +(\S+)/m;
    return 0 if !defined $hard || ($hard ne 'unlimited' && $hard < 1 << 30);

    my ($status, $out) = $t->run([ 'prlimit', "--core=$hard:$hard", '--pid', $pid ]);
    die "prlimit failed: $out\n" if $status != 0;

    return 1;
}

# A file that is a core of the process: the kernel's, which ends the process, or where the kernel hands
# cores to a program or writes none, gdb's of the process as it is, which leaves out the same.
sub dump_core {
    my ($pid) = @_;

    my $core = "$dir/core-of-$pid";

    if (!may_dump($pid)) {
        my ($status, $out) = $t->run([ 'gcore', '-o', $core, $pid ]);
        die "gcore failed: $out\n" if $status != 0;
        move("$core.$pid", $core) or die "rename failed: $!\n";

        return $core;
    }

    my $cwd = readlink "/proc/$pid/cwd" // die "no working directory of $pid: $!\n";
    kill ABRT => $pid;
    $t->wait_for("process $pid ends", 60, sub { !-e "/proc/$pid" || $t->read_file("/proc/$pid/stat") =~ /^\d+ \(.*\) Z/s });

    my @cores = grep { -f } glob "$cwd/core $cwd/core.*";
    is(scalar @cores, 1, 'there is a core') or return;
    move($cores[0], $core) or die "rename failed: $!\n";

    return $core;
}

# The same as memory() of its core, whose regions have the names that they had before; what is no memory is
# "registers".
sub core {
    my ($pid) = @_;

    my @regions = regions($pid);
    my $text = $t->read_file(dump_core($pid) // return (0));
    unlink "$dir/core-of-$pid";

    my ($ident, $at, $size, $count) = unpack 'a4 x28 Q< x14 S< S<', $text;
    is($ident, "\x7fELF", 'an ELF file');

    my ($loaded, @pieces) = (0);

    for my $i (0 .. $count - 1) {
        my ($type, undef, $offset, $address, undef, $length) = unpack 'L< L< Q< Q< Q< Q<', substr $text, $at + $i * $size, $size;
        next if $type != 1 || $length == 0;

        my ($region) = grep { $_->{at} <= $address && $address < $_->{end} } @regions;
        my $name = $region ? $region->{name} : 'no memory that may be written to';

        push @pieces, { end => $address, name => $name, text => '' }
            if !@pieces || $pieces[-1]{end} != $address || $pieces[-1]{name} ne $name;

        $pieces[-1]{text} .= substr $text, $offset, $length, "\0" x $length;
        $pieces[-1]{end} += $length;
        $loaded += $length;
    }

    # the rest
    push @pieces, { name => 'registers', text => $text };

    return ($loaded, map { hits_in($_->{text}, $_->{name}) } @pieces);
}

# nginx does not clear the buffers that it reads requests into: there the name of a header stands before
# it.  For $remote_user it decodes Basic.
my $nginx = qr/
    (?: authorization | x-api-key ) (?: : | \0 ) [ ]* (?: \w+[ ]+ )? (?: nuc_[0-9a-z]{12}_ | [A-Za-z0-9+\/]{0,48} ) \z
    | (?<! [0-9a-z_] ) [0-9a-z]{4,12} : (?: nuc_[0-9a-z]{12}_ )? \z
/xi;

for my $pid ($t->nginx_workers) {
    $t->wait_for('connections are closed', 20, sub { !Nucleus::Test::has_connections($pid) });

    my ($size, @hits) = memory($pid);
    cmp_ok($size, '>', 1 << 20, 'memory of a process of nginx');

    my @wrong = grep { $_->{name} eq '[stack]' || $_->{before} !~ $nginx } @hits;
    note(scalar(@hits) . ' in buffers of nginx');
    is(scalar @wrong, 0, 'it is nowhere but in what nginx has read or decoded')
        or diag(map { "$_->{name}: " . ($_->{before} =~ s/[^ -~]/./gr) . "\n" } @wrong);
}

for my $pid ($t->pid('nginx'), @workers) {
    my ($size, @hits) = memory($pid);
    is(scalar @hits, 0, "nothing in $size bytes of memory of " . Nucleus::Test::cmdline($pid));
}

# ---- cores

{
    # one that has a key, as its own
    my $file = $t->write_file('control', $key->{key});
    my $pid = $t->spawn('control', [ $^X, '-e', 'local (@ARGV, $/) = @ARGV; my $key = <>; print STDERR "has it\n"; sleep 600', $file ]);
    $t->wait_for('it has read it', 20, sub { $t->read_file('control.out') =~ /has it/ });

    my ($size, @hits) = core($pid);
    cmp_ok(scalar @hits, '>', 0, 'a key in a core is found');
    ok((grep { $_->{before} =~ /nuc_\Q$key->{id}\E_\z/ } @hits), 'and what stands before it');

    kill KILL => $pid;
    $t->wait_for('it ends', 20, sub { $t->ended('control') });
    unlink $file;
}

$t->wait_events(10);
$t->wait_for('uses are noted', 20, sub { -s $t->queue . '/last-used' });
$t->expect_log(qr/\[alert\].* exited on signal 6/, qr/process ended, will be started again/);
my $found = 0;

for my $pid ($t->nginx_workers) {
    my ($size, @hits) = core($pid);

    # long registers keep what was copied last, until something else is
    my @wrong = grep { $_->{name} ne 'registers' && ($_->{name} eq '[stack]' || $_->{before} !~ $nginx) } @hits;

    cmp_ok($size, '>', 1 << 20, 'a core of a process of nginx');
    is(scalar @wrong, 0, 'has it nowhere but in what nginx has read or decoded')
        or diag(map { "$_->{name}: " . ($_->{before} =~ s/[^ -~]/./gr) . "\n" } @wrong);
    $found += @hits;
}

cmp_ok($found, '>', 0, 'and there it is found');

for my $pid (grep { $_ != $t->pid('worker') } @workers) {
    my ($size, @hits) = core($pid);
    cmp_ok($size, '>', 1 << 16, 'a core of a process of nucleus-worker');
    is(scalar @hits, 0, 'has nothing of it');
}

$t->wait_ready;

# ---- files

is($t->stop($_), 0, "$_ ends") for qw(nginx worker);

my @files;

sub find {
    for my $path (glob "$_[0]/*") {
        -d $path ? find($path) : push @files, $path;
    }
}

find($dir);

for my $kind (qw(error.log combined.log registry.db registry.snapshot .ndjson last-used)) {
    ok((grep { /\Q$kind\E$/ } @files), "there is $kind");
}

like($t->read_file('combined.log'), qr/ - $key->{id} \[/, 'combined has the user of Basic where that is an id');

for my $file (grep { !m{/to-file-\d+$} } @files) {
    unlike($t->read_file($file), $any, "$file has no secret");
}

$t->finish;
$stranger->finish;
done_testing;
