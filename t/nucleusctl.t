#!/usr/bin/perl

# nucleusctl as its users have it: registry, tenants, keys, audit, snapshot, queue, doctor; beside readers
# that are behind, killed at any moment, and twice at once.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Fcntl qw(F_RDLCK F_SETLK F_UNLCK SEEK_SET);
use File::Basename qw(dirname);
use File::Copy ();
use JSON::PP ();
use POSIX ();
use Test::More;
use Time::HiRes ();

use Nucleus::Test;

my $t = Nucleus::Test->new;
my $ctl = Nucleus::Test::ctl_binary();
my $dir = $t->dir . '/registry';
my $db = "$dir/registry.db";
my $snapshot = "$dir/registry.snapshot";
my $nobody = '0' x 12;
my @secrets;

$ENV{NUCLEUS_REGISTRY} = $db;
delete @ENV{qw(SSH_CONNECTION SUDO_UID SUDO_USER)};

# exit status, standard output, standard error
sub ctl {
    my @args = @_;

    my $pid = start(@args);
    waitpid $pid, 0;

    return ($? & 127 ? 128 + ($? & 127) : $? >> 8, $t->read_file("out.$pid"), $t->read_file("err.$pid"));
}

sub start {
    my @args = @_;

    my $dir = $t->dir;
    my $pid = fork // die "fork failed: $!\n";
    return $pid if $pid;

    open STDIN, '<', '/dev/null' or POSIX::_exit(126);
    open STDOUT, '>', "$dir/out.$$" or POSIX::_exit(126);
    open STDERR, '>', "$dir/err.$$" or POSIX::_exit(126);
    { exec { $ctl } $ctl, @args };
    POSIX::_exit(127);
}

# The command succeeds; its output.
sub works {
    my @args = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($status, $out, $err) = ctl(@args);
    ok($status == 0 && $err eq '', "@args") or diag("status $status: $out$err");

    return $out;
}

sub json {
    my @args = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $out = works(@args, '--json');
    my $json = eval { JSON::PP->new->utf8->decode($out) };
    ok(ref $json, "@args: JSON") or diag("$@$out");

    return $json;
}

sub fails {
    my ($want, $message, @args) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($status, $out, $err) = ctl(@args);
    ok($status == $want && $err =~ $message, "@args: $want") or diag("status $status: $out$err");

    return $out;
}

# Each generation has one entry in the audit, and the snapshot is of the last.
sub sound {
    my ($name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($status, $out, $err) = ctl('snapshot', '--json');
    my $s = eval { JSON::PP->new->utf8->decode($out) } // {};
    my @audit = audit();
    my $whole = join ',', map { $_->{generation} } @audit;

    return ok($status == 0 && $s->{good} && $s->{generation} == $s->{registry_generation}
            && $whole eq join(',', 1 .. $s->{generation}), $name)
        || diag("status $status: $out$err\n$whole");
}

sub audit {
    my ($status, $out) = ctl('audit', '--json', @_);

    return map { JSON::PP->new->utf8->decode($_) } split /\n/, $out;
}

my $KEY = qr/nuc_([0-9a-hjkmnp-tv-z]{12})_([0-9A-Za-z]{43})[0-9A-Za-z]{6}/;

sub create {
    my @args = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $out = works('key', 'create', @args);
    my ($id, $secret) = $out =~ /^key: +$KEY$/m or fail("a key is printed: $out");
    push @secrets, $secret;

    return $id;
}

sub mode { return sprintf '%o', (stat $_[0])[2] & 07777 }

# ---- usage

my $help = works('--help');
my @commands = $help =~ /^  ([a-z]+(?: [a-z]+)?)(?: [A-Z]+)?  /mg;
cmp_ok(scalar @commands, '>=', 20, 'all commands are listed');

for my $command (@commands) {
    my $text = works(split(/ /, $command), '--help');
    like($text, qr/^usage: nucleusctl \Q$command\E\b.*\n\n[A-Z].*\n(?:.*\n)*  --registry FILE/, "$command explains itself");
}

# the manual page has each command with each of its options
my $manual = $t->read_file("$Nucleus::Test::ROOT/docs/nucleusctl.8");
my %taken = map { $_ => 1 } $help =~ /^  (--[a-z-]+)/mg;

for my $command (@commands) {
    next if $command eq 'completion';
    my ($part) = $manual =~ /^(\.It Cm \Q$command\E\b.*?)(?=^\.It Cm|^\.Ss|^\.Sh)/ms;
    ok($part, "$command is in the manual") or next;
    my @options = grep { !$taken{$_} } works(split(/ /, $command), '--help') =~ /^  (--[a-z-]+)/mg;

    # limits stand with those of tenants, which the others refer to
    @options = grep { !/^--(?:requests|events|bytes)$/ } @options if $command =~ /^key/;
    my @missing = grep { (my $name = $_) =~ s/^--//; $part !~ /Fl -\Q$name\E\b/ } @options;
    is("@missing", '', "$command: with its options");
}

{
    my ($status, $out) = $t->run([ 'sh', '-c', 'LC_ALL=C.UTF-8 man --warnings -l "$0" > /dev/null', "$Nucleus::Test::ROOT/docs/nucleusctl.8" ]);
    is($out, '', 'man has no warnings');
}

like(works('--version'), qr/^nucleusctl \d+\.\d+\.\d+$/, 'its version');
like(works('key', '--help'), qr/key create.*key revoke/s, 'a group of commands');
is((ctl())[0], 2, 'nothing at all: 2');
is((ctl('key'))[0], 2, 'half a command: 2');
fails(2, qr/no command "keys"/, 'keys');
fails(2, qr/no command "key eat"/, 'key', 'eat');
fails(2, qr/no option "--tenants"/, 'key', 'list', '--tenants', 'x');
fails(2, qr/"--tenant" is given twice/, 'key', 'list', '--tenant', 'x', '--tenant=y');
fails(2, qr/"--tenant" needs a value/, 'key', 'list', '--tenant');
fails(2, qr/"--json" takes no value/, 'key', 'list', '--json=yes');
fails(2, qr/needs its NAME/, 'tenant', 'show');
fails(2, qr/unexpected argument "b"/, 'tenant', 'show', 'a', 'b');
fails(3, qr/hint: make it with nucleusctl init/, 'tenant', 'list');

# ---- init

my $made = json('init');
is($made->{made}, JSON::PP::true, 'made');
is($made->{snapshot}, $snapshot, 'the snapshot stands beside it');
is(mode($db), '600', 'the database is its owner\'s');
is(mode($_), '644', "$_ is for all to read") for $snapshot, "$snapshot.readers";
my $before = $t->read_file($db);
$made = json('init');
is($made->{made}, JSON::PP::false, 'init again');
is($t->read_file($db), $before, 'changes nothing');
sound('made');

$t->write_file('other.sql', 'CREATE TABLE t (x);');

{
    system("sqlite3 $t->{dir}/other.db < $t->{dir}/other.sql") == 0 or die "sqlite3 failed\n";
    fails(1, qr/another program's database/, 'init', '--registry', "$t->{dir}/other.db");
}

# a mask of the caller's neither closes nor opens anything
my $mask = umask 077;
works('init', '--registry', $t->dir . '/masked/r.db', '--snapshot', $t->dir . '/elsewhere/s');
umask 0;
works('tenant', 'create', 'x', '--registry', $t->dir . '/masked/r.db');
umask $mask;
is(mode($t->dir . '/masked/r.db'), '600', 'a mask: the database');
is(mode($t->dir . '/elsewhere/s'), '644', 'a mask: the snapshot');
fails(1, qr/no group "nobody-has-this"/, 'init', '--registry', $t->dir . '/g/r.db', '--group', 'nobody-has-this');

SKIP: {
    skip 'not root', 6 if !$t->is_root;
    my $gid = getgrnam('www-data') // skip 'no group www-data', 6;
    my $grouped = $t->dir . '/grouped/registry';

    works('init', '--registry', "$grouped.db", '--group', 'www-data');
    works('tenant', 'create', 'x', '--registry', "$grouped.db");
    is(mode("$grouped.snapshot"), '640', 'a group: mode');
    is((stat "$grouped.snapshot")[5], $gid, 'a group: its own');
    is(mode("$grouped.snapshot.readers"), '640', 'the readers file: mode');
    is((stat "$grouped.snapshot.readers")[5], $gid, 'the readers file: its own');
}

# ---- tenants

works('tenant', 'create', 'district-a');
fails(1, qr/already/, 'tenant', 'create', 'district-a');
fails(1, qr/"District" is no name.*hint: a-z/s, 'tenant', 'create', 'District');
works('tenant', 'create', 'district-b');
is(join(' ', map { $_->{name} } @{ json('tenant', 'list') }), 'district-a district-b', 'both');
like(works('tenant', 'list'), qr/^NAME +STATE +KEYS +CREATED\ndistrict-a +enabled +0 +\d{4}-/, 'in words');
fails(3, qr/no tenant "nobody"/, 'tenant', 'show', 'nobody');
fails(3, qr/no tenant "nobody"/, 'tenant', 'disable', 'nobody');
fails(3, qr/no tenant "nobody"/, 'tenant', 'limits', 'nobody', '--requests', '1/s');

works('tenant', 'limits', 'district-a', '--requests', '100/s:200', '--bytes=5m/s:20m', '--queue-bytes', '2g');
works('tenant', 'limits', 'district-a', '--events', '7/s', '--events-a-day', '1000', '--inflight', '8m');
my $shown = json('tenant', 'show', 'district-a');
is_deeply($shown->{limits},
    { requests => { rate => 100, burst => 200 }, events => { rate => 7, burst => 7 },
        bytes => { rate => 5 << 20, burst => 20 << 20 } }, 'limits, one after another');
is_deeply($shown->{quotas}, { queue_bytes => 2 << 30, events_a_day => 1000, inflight => 8 << 20 }, 'quotas');
like(works('tenant', 'show', 'district-a'), qr/^bytes: +5m\/s:20m$/m, 'in words');
works('tenant', 'limits', 'district-a', '--bytes', 'none', '--inflight', 'none');
$shown = json('tenant', 'show', 'district-a');
is($shown->{limits}{bytes}, undef, 'none removes a limit');
is($shown->{quotas}{inflight}, undef, 'and a quota');
is($shown->{limits}{requests}{burst}, 200, 'others stay');
fails(2, qr/no limit of requests/, 'tenant', 'limits', 'district-a', '--requests', $_) for '5', '0/s', '5/m', '5/s:', '5k/s', '-1/s';
fails(2, qr/no limit is given/, 'tenant', 'limits', 'district-a');

is(json('tenant', 'disable', 'district-b')->{disabled}, JSON::PP::true, 'disabled');
my $generation = json('snapshot')->{generation};
works('tenant', 'disable', 'district-b');
is(json('snapshot')->{generation}, $generation, 'twice is once');
like(works('tenant', 'show', 'district-b'), qr/^state: +disabled$/m, 'shown');
is(json('tenant', 'enable', 'district-b')->{disabled}, JSON::PP::false, 'enabled');

# ---- keys

my $id = create('--tenant', 'district-a', '--name', 'front gate', '--scope', 'collect,upload', '--stream', 'one',
    '--stream=two', '--from', '10.0.0.0/8', '--from', '2001:db8::/32', '--from', '127.0.0.1', '--expires', '30d',
    '--not-before', '2026-01-01', '--requests', '5/s:9');
my $key = json('key', 'show', $id);
is($key->{state}, 'valid', 'valid');
is($key->{name}, 'front gate', 'its name');
is("@{ $key->{scopes} }", 'collect upload', 'scopes');
is("@{ $key->{streams} }", 'one two', 'streams');
is("@{ $key->{from} }", '10.0.0.0/8 127.0.0.1/32 2001:db8::/32', 'networks');
is($key->{not_before}, '2026-01-01T00:00:00Z', 'not before');
is($key->{limits}{requests}{burst}, 9, 'limits');
is($key->{last_used}, undef, 'when it was used is not known');
like(works('key', 'show', $id), qr/^streams: +one, two$/m, 'in words');

my $said = json('key', 'create', '--tenant', 'district-b');
ok(($said->{key} // '') =~ /^$KEY$/ && $said->{id} eq $1, 'as JSON');
push @secrets, $2;
is(json('key', 'show', $said->{id})->{scopes}[0], 'collect', 'collect unless said');

my $file = $t->dir . '/key';
my $out = works('key', 'create', '--tenant', 'district-a', '--to-file', $file);
unlike($out, $KEY, 'to a file: it is not printed');
my ($written, $secret) = $t->read_file($file) =~ /^$KEY\n\z/;
like($out, qr/^id: +$written$/m, 'but stands in it');
push @secrets, $secret;
is(mode($file), '600', 'which is its owner\'s');
my $keys = @{ json('key', 'list') };
fails(1, qr/cannot be made.*hint: name a new file/s, 'key', 'create', '--tenant', 'district-a', '--to-file', $file);
fails(3, qr/no tenant "nobody"/, 'key', 'create', '--tenant', 'nobody', '--to-file', "$file-2");
ok(!-e "$file-2", 'what failed leaves no file');
fails(2, qr/"--tenant" is needed/, 'key', 'create');
fails(2, qr/no scope/, 'key', 'create', '--tenant', 'district-a', '--scope', 'collect,');
fails(2, qr/bits set behind its prefix/, 'key', 'create', '--tenant', 'district-a', '--from', '10.1.0.0/8');
fails(2, qr/neither an address/, 'key', 'create', '--tenant', 'district-a', '--from', 'gate.example');
fails(2, qr/no time/, 'key', 'create', '--tenant', 'district-a', '--expires', $_) for 'tomorrow', '2027-02-30', '',
    '2027-1-2', ' 2027-01-02', '2027-01-02T12:00:60Z';
fails(2, qr/expired already/, 'key', 'create', '--tenant', 'district-a', '--expires', '2020-01-01');
fails(1, qr/expire before it begins/, 'key', 'create', '--tenant', 'district-a', '--expires', '1d', '--not-before', '2d');
fails(1, qr/no name of a stream/, 'key', 'create', '--tenant', 'district-a', '--stream', 'A');
is(scalar @{ json('key', 'list') }, $keys, 'none of these made one');
is(scalar @{ json('key', 'list', '--tenant', 'district-b') }, 1, 'those of a tenant');
fails(3, qr/no tenant "nobody"/, 'key', 'list', '--tenant', 'nobody');
fails(3, qr/no key "$nobody"/, 'key', 'show', $nobody);
fails(2, qr/no key's ID/, 'key', 'show', 'x');

# the whole key instead of its id is not repeated, in case it goes into a log
my ($status, undef, $err) = ctl('key', 'revoke', "nuc_${nobody}_" . 'S' x 49);
ok($status == 2 && $err =~ /12 characters/ && $err !~ /S{10}/, 'a whole key as ID: not repeated') or diag($err);

# when it was used: what nginx's processes noted
$t->write_file('q/last-used', "$id 1790000000\n$nobody 5\n$id 1790000001\nnonsense\n$id 17");
is(json('key', 'show', $id, '--queue', $t->dir . '/q')->{last_used}, '2026-09-21T14:13:21Z', 'last used');
like(works('key', 'list', '--queue', $t->dir . '/q'), qr/^$id .* 2026-09-21T14:13:21Z$/m, 'in the list');
is(json('key', 'show', $id, '--queue', $t->dir . '/nowhere')->{last_used}, undef, 'no such file: not known');

works('key', 'limits', $id, '--requests', 'none', '--events', '3/s');
is_deeply(json('key', 'show', $id)->{limits}, { requests => undef, events => { rate => 3, burst => 3 }, bytes => undef }, 'key limits');
fails(2, qr/no option "--inflight"/, 'key', 'limits', $id, '--inflight', '1m');
fails(3, qr/no key/, 'key', 'limits', $nobody, '--events', '3/s');

# without standard output nobody gets the key, and no file that is opened instead does
($status, $err) = $t->run([ 'sh', '-c', '"$0" key create --tenant district-a >&-', $ctl ]);
ok($status == 1 && $err =~ /could not be printed.*hint: .*revoke it/s, 'no standard output') or diag("$status: $err");
$out = join '', map { $t->read_file($_) } glob "$dir/*";
unlike($out, $KEY, 'the key is in no file');

# ---- client certificates

$t->make_certificate;
my $cert = $t->dir . '/cert.pem';
my $with = create('--tenant', 'district-a', '--certificate', $cert);
my ($digest) = ($t->run([ 'sh', '-c', "openssl x509 -in $cert -outform DER | sha256sum" ]))[1] =~ /^(\w{64})/;
is(json('key', 'show', $with)->{certificates}[0], $digest, 'the digest of a certificate');
fails(1, qr/stands for another key already/, 'key', 'create', '--tenant', 'district-b', '--certificate', $cert);
fails(2, qr/no certificate/, 'key', 'create', '--tenant', 'district-a', '--certificate', $t->dir . '/key.pem');
fails(2, qr/No such file/, 'key', 'create', '--tenant', 'district-a', '--certificate', "$cert-not");

# one that is encrypted: OpenSSL would ask for a passphrase
(my $asking = $t->read_file($cert)) =~ s/(BEGIN.*\n)/$1Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n/;
$t->write_file('asking.pem', $asking);
fails(2, qr/\Anucleusctl.*no certificate/, 'key', 'create', '--tenant', 'district-a', '--certificate', $t->dir . '/asking.pem');

# ---- rotation

my $rotated = json('key', 'rotate', $with, '--overlap', '1h');
my $successor = $rotated->{id};
ok($rotated->{key} =~ $KEY, 'a successor');
push @secrets, $2;
my ($old, $new) = map { json('key', 'show', $_) } $with, $successor;
is($new->{lineage}, $old->{lineage}, 'of one lineage');
is($old->{state}, 'valid, rotated', 'the old one is valid');
is($rotated->{rotated_ends}, $old->{ends}, 'and ends');
is($new->{certificates}[0], $digest, 'the certificate stands for the new one');
is(scalar @{ $old->{certificates} }, 0, 'and not for the old one');
fails(1, qr/both are valid/, 'key', 'rotate', $_) for $with, $successor;
works('key', 'revoke', $with);
fails(1, qr/is revoked/, 'key', 'rotate', $with);
$rotated = json('key', 'rotate', $successor, '--overlap', '0s', '--expires', '2099-01-01', '--to-file', "$file-3");
is(json('key', 'show', $successor)->{state}, 'rotated', 'no overlap: the old one is no longer valid');
is(json('key', 'show', $rotated->{id})->{expires}, '2099-01-01T00:00:00Z', 'the new one expires when it was said');
ok(!exists $rotated->{key} && $t->read_file("$file-3") =~ $KEY, 'to a file');
push @secrets, $2;
fails(3, qr/no key/, 'key', 'rotate', $nobody);
works('key', 'revoke', $rotated->{id});
create('--tenant', 'district-b', '--certificate', $cert);

# ---- revocation, and processes that are behind

like(works('key', 'revoke', $said->{id}), qr/is revoked\.\nNo process of nginx uses/, 'revoked');
is(json('key', 'revoke', $said->{id})->{processes}, 0, 'once more is no fault');
is(json('key', 'show', $said->{id})->{state}, 'revoked', 'shown');
fails(3, qr/no key/, 'key', 'revoke', $nobody);
fails(2, qr/no duration/, 'key', 'revoke', $id, '--timeout', 'long');
is(json('key', 'show', $id)->{state}, 'valid', 'wrong usage revokes nothing');

# a process that uses a generation until it is told to use another one, by a line on its input
sub reader {
    my ($from) = @_;

    pipe(my $read, my $write) or die "pipe: $!\n";
    pipe(my $ready, my $told) or die "pipe: $!\n";
    my $pid = fork // die "fork failed: $!\n";

    if ($pid == 0) {
        close $write;
        close $ready;
        open my $fh, '<', "$snapshot.readers" or POSIX::_exit(1);
        my $lock = sub {
            my ($type, $g) = @_;
            fcntl $fh, F_SETLK, pack('s s x4 q q l x4', $type, SEEK_SET, ($g << 22) + $$, 1, 0) or POSIX::_exit(2);
        };
        $lock->(F_RDLCK, $from);
        syswrite $told, "ready\n";

        while (defined(my $line = readline $read)) {
            $lock->(F_RDLCK, $line);
            $lock->(F_UNLCK, $from);
            $from = $line;
        }

        POSIX::_exit(0);
    }

    close $read;
    close $told;
    defined readline $ready or die "the reader does not start\n";
    $write->autoflush(1);

    return ($pid, $write);
}

my ($pid, $tell) = reader(json('snapshot')->{generation});
is(json('snapshot')->{processes}, 1, 'a process uses it');
my $behind = create('--tenant', 'district-a');
is("@{ json('snapshot')->{behind} }", $pid, 'and is behind, by a change');
$out = fails(4, qr/1 processes have not taken that up: $pid \(/, 'key', 'revoke', $behind, '--timeout', '100ms', '--json');
is("@{ JSON::PP->new->decode($out)->{behind} }", $pid, 'which it says');
is(json('key', 'show', $behind)->{state}, 'revoked', 'it is revoked, whoever is behind');
fails(4, qr/have not taken that up: $pid/, 'tenant', 'disable', 'district-b', '--timeout', '0s');
$generation = json('snapshot')->{generation};

my $revoke = start('key', 'revoke', $id, '--timeout', '30s');
$t->wait_for('it is revoked', 10, sub { (ctl('key', 'show', $id))[1] =~ /^state: +revoked$/m });
is(waitpid($revoke, POSIX::WNOHANG), 0, 'revoke waits');
print {$tell} $generation + 1, "\n";
is(waitpid($revoke, 0), $revoke, 'until the process has taken it up');
is($?, 0, 'and exits with 0');
like($t->read_file("out.$revoke"), qr/All processes of nginx \(1\) have taken that up/, 'which it says');
close $tell;
waitpid $pid, 0;
is(json('snapshot')->{processes}, 0, 'the process has ended');

# without the readers file nobody knows
unlink "$snapshot.readers";
fails(4, qr/is not known.*hint: nucleusctl snapshot --rewrite/s, 'key', 'revoke', $id);
fails(1, qr/readers" failed/, 'snapshot');
works('snapshot', '--rewrite');
ok(-e "$snapshot.readers", 'it is made again');

# ---- audit

{
    local $ENV{SSH_CONNECTION} = '192.0.2.7 4711 192.0.2.1 22';
    local $ENV{SUDO_UID} = 1;
    works('tenant', 'create', 'from-afar');
}

my @audit = audit();
is($audit[0]{what}, 'init', 'the first entry');
is($audit[-1]{what}, 'tenant create', 'the last one');
is($audit[-1]{from}, 'ssh 192.0.2.7', 'from where');
my $self = getpwuid($<) . " ($<)";
like($audit[-1]{who}, $t->is_root ? qr/^\S+ \(1\) as root \(0\)$/ : qr/^\Q$self\E$/, 'who');
is($audit[0]{who}, $self, 'who, without sudo');
like($audit[0]{at}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/, 'when');
my ($create) = grep { $_->{what} eq 'key create' && $_->{subject} eq $id } @audit;
is_deeply($create->{details}{streams}, [ 'one', 'two' ], 'what');
is($create->{tenant}, 'district-a', 'of which tenant');
is(scalar(audit('--limit', 3)), 3, '--limit');
is((audit('--limit', 1))[0]{subject}, 'from-afar', 'are the last ones');
is(scalar(grep { $_->{tenant} ne 'district-b' } audit('--tenant', 'district-b')), 0, '--tenant');
is(scalar(audit('--since', '1h')), scalar @audit, '--since an hour ago');
is(scalar(audit('--since', '2099-01-01')), 0, '--since a later day');
like(works('audit'), qr/^WHEN +GENERATION .*\n.*  init  /, 'in words');
fails(2, qr/no number/, 'audit', '--limit', '0');
fails(2, qr/no time/, 'audit', '--since', 'ever');
{
    local $ENV{SSH_CONNECTION} = "x'; DROP 1";
    works('tenant', 'create', 'from-nowhere');
    is((audit('--limit', 1))[0]{from}, 'local', 'what is no address is not repeated');
}
sound('all changes are in the audit');

# ---- no secret anywhere

for my $name (glob "$dir/*") {
    my $bytes = $t->read_file($name);
    is(scalar(grep { index($bytes, $_) >= 0 } @secrets), 0, "no secret in $name");
}

cmp_ok(scalar @secrets, '>=', 8, 'of several');
is(scalar(grep { index((ctl('audit'))[1], $_) >= 0 } @secrets), 0, 'nor in the audit');

# ---- a snapshot that is lost, damaged, foreign, newer

unlink $snapshot;
works('tenant', 'list');
sound('lost: the next command writes it');
$t->write_file($snapshot, substr($t->read_file($snapshot), 0, -9));
works('snapshot');
sound('damaged: so too');

File::Copy::copy($t->dir . '/elsewhere/s', $snapshot);
fails(1, qr/another registry's/, 'tenant', 'create', 'c');
fails(1, qr/another registry's/, 'snapshot');
works('snapshot', '--rewrite');
sound('foreign: replaced when asked');

File::Copy::copy($db, "$db.backup");
my ($kept) = map { $_->{generation} } json('snapshot');
works('tenant', 'create', "later-$_") for 1 .. 3;
File::Copy::copy("$db.backup", $db);
fails(1, qr/restored from a backup/, 'snapshot');
is(json('snapshot', '--rewrite')->{generation}, $kept + 4, 'a backup: nginx gets a newer generation');
File::Copy::copy("$db.backup", $db);
works('tenant', 'create', 'after-backup');
is(json('snapshot')->{generation}, $kept + 5, 'so it does by a change');
my ($shown_keys) = json('snapshot')->{keys};
is($shown_keys, scalar @{ json('key', 'list') }, 'with all keys');

$t->write_file("$t->{dir}/no.db", 'this is no database, whatever its name says. ' x 30);
fails(1, qr/hint: restore it/, 'tenant', 'list', '--registry', "$t->{dir}/no.db");
fails(1, qr/hint: restore it/, 'init', '--registry', "$t->{dir}/no.db");

# ---- killed at any moment

# within what the command takes when nobody kills it
sub start_and_kill {
    my ($within, @args) = @_;

    my $pid = start(@args);
    Time::HiRes::usleep(int rand(1_000_000 * $within));
    kill KILL => $pid;
    waitpid $pid, 0;

    return $? & 127 ? 1 : 0;
}

sub time_of {
    my @args = @_;

    my $begun = Time::HiRes::time();
    works(@args);

    return Time::HiRes::time() - $begun;
}

my $killed = 0;
my $seconds = time_of('init', '--registry', "$t->{dir}/timed/registry.db");
$ENV{NUCLEUS_REGISTRY} = $db = $t->dir . '/killed/registry.db';
($dir, $snapshot) = ($t->dir . '/killed', $t->dir . '/killed/registry.snapshot');

for (1 .. 20) {
    $killed += start_and_kill($seconds, 'init');
    (ctl('init'))[0] == 0 or fail('init after a killed one');
    (ctl('snapshot'))[0] == 0 or fail('a snapshot after a killed init');
    unlink glob "$dir/*" if $_ < 20;
}

works('tenant', 'create', 't');
$seconds = time_of('key', 'create', '--tenant', 't');

for (1 .. 60) {
    $killed += start_and_kill($seconds, 'key', 'create', '--tenant', 't', '--stream', 's');

    # the next command, whichever, mends what that left
    my ($status, $out, $err) = ctl('key', 'list');
    $status == 0 && $err eq '' or fail("after a kill: $out$err");
    sound("killed, number $_") or last;
}

cmp_ok($killed, '>=', 10, "killed $killed of 80");
is(scalar @{ json('key', 'list') }, scalar(grep { $_->{what} eq 'key create' } audit()), 'keys and audit are one');

# ---- several at once

my @running = map { start('key', 'create', '--tenant', 't') } 1 .. 12;
my %status = map { waitpid($_, 0); ($? => 1) } @running;
is(join(' ', keys %status), '0', 'twelve at once: all succeed');
sound('and none is lost');

# ---- completion

my $completion = $t->write_file('completion', works('completion', 'bash'));
fails(2, qr/only for bash/, 'completion', 'fish');

{
    my $complete = sub {
        my ($words) = @_;
        my ($status, $out) = $t->run([ 'bash', '-c', <<"END" ], env => { PATH => Nucleus::Test::dirname($ctl) . ":$ENV{PATH}" });
source $completion
COMP_WORDS=($words); COMP_CWORD=\$((\${#COMP_WORDS[@]}-1)); _nucleusctl
echo "\${COMPREPLY[*]}"
END
        return $out;
    };

    is($complete->('nucleusctl k'), "key\n", 'commands are completed');
    like($complete->('nucleusctl key ""'), qr/^create list show rotate revoke limits$/, 'their second words');
    like($complete->('nucleusctl key create --ex'), qr/^--expires$/, 'options');
    is($complete->('nucleusctl key create --tenant ""'), "t\n", 'tenants');
}

# ---- queue: beside a running nginx, and of a dead one

fails(3, qr/No such file/, 'queue', 'status', $t->dir . '/nowhere');
$t->start_nginx or die "nginx does not start\n";
$t->post('/events', qq({"id":"a-$_"}))->status == 202 or fail('an event is taken') for 1 .. 7;
my $queue = json('queue', 'status', $t->queue);
is($queue->{records}, 7, 'records');
is($queue->{living}, scalar @{ $queue->{writers} }, 'all writers live');
my @workers = $t->nginx_workers;
is_deeply([ map { $_->{pid} } @{ $queue->{writers} } ], [ map { $workers[0] } @{ $queue->{writers} } ], 'by their process');
like($queue->{oldest}, qr/^\d{4}-\d\d-\d\dT/, 'the oldest');
like(works('queue', 'status', $t->queue), qr/^WRITER .*living, process $workers[0].*7 records, the oldest from/s, 'in words');
like(works('queue', 'verify', $t->queue), qr/7 records.*no damage/, 'verify');
is(json('queue', 'verify', $t->queue)->{summary}{records}, 7, 'verify as JSON');
is((ctl('queue', 'verify', $t->dir . '/nowhere'))[0], 2, 'exits with what the worker does');

# ---- doctor

$t->write_file('mine.conf', $t->read_file('nginx.conf'));
my $conf = $t->dir . '/mine.conf';

# it asks the nginx that is in the PATH, which is to be the one under test
local $ENV{PATH} = dirname(Nucleus::Test::nginx_binary()) . ":$ENV{PATH}";

sub doctor {
    my @args = @_;

    my ($status, $out, $err) = ctl('doctor', '--json', '--nginx-conf', $conf, @args);
    my $json = eval { JSON::PP->new->utf8->decode($out) } // {};
    my %worst;

    for my $check (@{ $json->{checks} }) {
        my $hint = $check->{result} eq 'ok' || length $check->{hint};
        $hint or diag("no hint: $check->{check}: $check->{message}");
        push @{ $worst{"$check->{check} $check->{result}"} }, $check->{message};
    }

    is($status, $json->{problems} ? 1 : 0, "doctor @args: status") or diag("$out$err");

    return \%worst;
}

my $found = doctor();
ok($found->{'registry ok'} && $found->{'snapshot ok'} && $found->{'disk ok'}, 'what is right') or diag(explain $found);
like("@{ $found->{'readers warning'} // [] }", qr/no process of nginx/, 'nobody uses it');
like("@{ $found->{'nginx warning'} // [] }", qr/names no registry/, 'nginx does not know it');
like("@{ $found->{'queue ok'} // [] }", qr/free/, 'the queue that nginx.conf names');
ok($found->{'clock ok'} || $found->{'clock warning'}, 'the clock');
like("@{ $found->{'nginx ok'} // [] }", qr/nginx -t accepts/, 'nginx -t') or diag(explain $found);
like((ctl('doctor', '--nginx-conf', $conf))[1], qr/^ok +registry .*^warning +readers .*\n +-> .*^\d+ problems, \d+ warnings$/ms, 'in words');

chmod 0640, $db;
like("@{ doctor()->{'files problem'} // [] }", qr/others than its owner/, 'the database is open to others');
chmod 0600, $db;

SKIP: {
    skip 'not root', 8 if !$t->is_root;
    my $user = getpwnam('www-data') // skip 'no user www-data', 8;

    $t->write_file('mine.conf', $t->read_file('nginx.conf') =~ s/user root;/user www-data;/r);
    chmod 0600, $snapshot;
    like("@{ doctor()->{'files problem'} // [] }", qr/www-data may not read \S+registry\.snapshot, because/, 'nginx cannot read it');
    chmod 0644, $snapshot;
    chmod 0700, $dir;
    like("@{ doctor()->{'files problem'} // [] }", qr/may not read .*because of \Q$dir\E/, 'nor find it');
    chmod 0777, $dir;
    like("@{ doctor()->{'files problem'} // [] }", qr/may replace what lies in/, 'nginx could replace it');
    chmod 0755, $dir;
    ok(!doctor()->{'files problem'}, 'now it is right');
}

$t->write_file('mine.conf', "http { nucleus_registry /elsewhere/registry.snapshot; }");
$found = doctor();
like("@{ $found->{'nginx problem'} // [] }", qr/names \/elsewhere/, 'nginx has another registry');
like("@{ $found->{'nginx problem'} // [] }", qr/nginx -t refuses it \(1\): ./, 'and its configuration is wrong');
like("@{ doctor('--queue', $t->dir . '/nowhere')->{'queue problem'} // [] }", qr/No such file/, 'no queue');
$t->write_file('other-worker.conf', "queue log { path $t->{dir}/other; }");
like("@{ doctor('--queue', $t->queue, '--worker-conf', \"$t->{dir}/other-worker.conf\")->{'worker problem'} // [] }",
    qr/nginx writes to.*refuses it/s, 'a worker that reads another queue');
File::Copy::copy($snapshot, "$snapshot.old");
works('tenant', 'create', 'another');
rename "$snapshot.old", $snapshot;
like("@{ doctor()->{'snapshot problem'} // [] }", qr/generation/, 'an older snapshot, left as it was');
like("@{ doctor('--registry', $t->dir . '/none.db')->{'registry problem'} // [] }", qr/No such file/, 'no registry');

# ---- adopt: all that follows is the worker's

is($t->stop('nginx'), 0, 'nginx stops');
my $target = $t->dir . '/target';
$t->write_file('target.conf', "state $target/state;\nqueue log { path $target/queue; }\npipeline p { sink file { path $target/store; } }\n");
mkdir $target;
mkdir "$target/queue";
$out = works('queue', 'adopt', $t->queue, '-c', $t->dir . '/target.conf');
like($out, qr/is adopted/, 'adopt');
is(json('queue', 'status', "$target/queue")->{records}, 7, 'all is there');
fails(2, qr/needs its DIR/, 'queue', 'adopt');

$t->finish;
done_testing;
