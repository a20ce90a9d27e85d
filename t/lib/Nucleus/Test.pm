package Nucleus::Test;

# One nginx with the module and one nucleus-worker, in a temporary directory of their own.
#
#     my $t = Nucleus::Test->new;
#     $t->start;                                    # both, and waits until events are accepted
#     my $r = $t->post('/events', '{"id":"a"}');    # Nucleus::Response
#     my ($event) = $t->wait_events(1);             # read back from the store
#     $t->finish;                                   # stops both, looks through all logs
#     done_testing;
#
# From the environment, all optional:
#
#     TEST_NGINX_BINARY    nginx in the PATH, or /usr/sbin/nginx
#     TEST_NGINX_MODULE    modules/ngx_http_nucleus_module.so; "static" where nginx has it built in
#     TEST_NUCLEUS_WORKER  build/nucleus-worker
#     TEST_NUCLEUSCTL      build/nucleusctl
#     NUCLEUS_KEEP=1       keep the temporary directory; that of a failed test is kept anyway
#
# Nothing sleeps for luck: whoever waits, waits for a condition, by wait_for.

use strict;
use warnings;
use feature 'state';

use Cwd ();
use File::Basename qw(basename dirname);
use File::Path ();
use File::Spec ();
use File::Temp ();
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP ();
use POSIX qw(:sys_wait_h);
use Test::More ();
use Time::HiRes qw(time sleep);

use Nucleus::Client;
use Nucleus::Registry;
use Nucleus::Schema;
use Nucleus::Store;

use constant {
    START_SECONDS => 30,
    STOP_SECONDS  => 45,         # the worker kills what has not drained after 30
    PORT_FIRST    => 20_000,     # below the ports that the kernel gives to clients
    PORT_COUNT    => 10_000,
    TCP_LISTEN    => '0A',       # in /proc/net/tcp
};

our $ROOT = Cwd::abs_path(dirname(__FILE__) . '/../../..');

my %all;                         # instances that are not finished
my $main_pid = $$;

# What no log may have unless the test expects it.
my $BAD = qr/
    \[(?:alert|crit|emerg)\]
    | "level":"(?:alert|error)"
    | AddressSanitizer | LeakSanitizer | ThreadSanitizer | UndefinedBehaviorSanitizer
    | runtime\ error: | Sanitizer:DEADLYSIGNAL | Assertion\ .*failed
/x;

sub nginx_binary {
    return $ENV{TEST_NGINX_BINARY} if $ENV{TEST_NGINX_BINARY};

    for my $dir (split(/:/, $ENV{PATH} // ''), '/usr/sbin') {
        return "$dir/nginx" if -x "$dir/nginx";
    }

    return '/usr/sbin/nginx';
}

# Does what "nginx -V" says match?  Its version and its modules, for tests that need to know.
sub nginx_has {
    my ($pattern) = @_;

    state %said;
    my $binary = nginx_binary();

    $said{$binary} //= do {
        open my $fh, '-|', 'sh', '-c', 'exec "$0" -V 2>&1', $binary or die "$binary -V: $!\n";
        local $/;
        <$fh> // '';
    };

    return $said{$binary} =~ $pattern;
}

# The daemons run in another directory.
sub built {
    my ($file) = @_;

    return Cwd::abs_path($file) // die "there is no $file: run make first\n";
}

# The module is part of the nginx under test.
sub is_static { return ($ENV{TEST_NGINX_MODULE} // '') eq 'static' }

sub module_file {
    return is_static() ? '' : built($ENV{TEST_NGINX_MODULE} // "$ROOT/modules/ngx_http_nucleus_module.so");
}

sub worker_binary { return built($ENV{TEST_NUCLEUS_WORKER} // "$ROOT/build/nucleus-worker") }

sub ctl_binary { return built($ENV{TEST_NUCLEUSCTL} // "$ROOT/build/nucleusctl") }

# ---- templates

my $NGINX_CONF = <<'END';
%%USER%%
load_module %%MODULE%%;
worker_processes %%WORKERS%%;
pid %%DIR%%/nginx.pid;
error_log %%DIR%%/error.log info;
%%MAIN%%
events {
    worker_connections 2048;
    %%EVENTS%%
}
http {
    access_log            %%DIR%%/access.log;
    client_body_temp_path %%DIR%%/body;
    proxy_temp_path       %%DIR%%/proxy;
    fastcgi_temp_path     %%DIR%%/fastcgi;
    uwsgi_temp_path       %%DIR%%/uwsgi;
    scgi_temp_path        %%DIR%%/scgi;
    client_max_body_size  32m;
    nucleus_queue         log %%QUEUE%% %%QUEUE_OPTIONS%%;
    %%REGISTRY%%
    %%HTTP%%

    server {
        listen       127.0.0.1:%%PORT%% backlog=1024;
        %%AUTH%%
        %%SERVER%%

        location = /events { nucleus auto; }
        location = /health { nucleus_health ready; }
        location = /live   { nucleus_health live; }
        %%LOCATIONS%%
    }
}
END

my $WORKER_CONF = <<'END';
state %%STATE%%;
queue log { path %%QUEUE%%; }
api %%API%%;

pipeline store {
    %%PIPELINE%%
    sink file { path %%STORE%%; %%SINK%% }
}
%%MORE%%
END

# Options, all optional:
#
#     workers                  nginx processes (1)
#     queue, state, store      directories (below the temporary one)
#     user                     that nginx's processes run as, when the test runs as root ("root")
#     keys                     a registry, and keys are asked for; $t->registry is a Nucleus::Registry
#     limits                   where keys are asked for, instead of "nucleus_limit off;"
#     upgradable               nginx obeys USR2 (see upgrade)
#     module                   another file than that of the environment
#     nginx, worker            whole templates instead of the ones above
#     main, events, http, server, locations, queue_options    inserted into nginx's
#     pipeline, sink, more                                    inserted into the worker's
#     api                      the worker's local API (off); "unix:%%DIR%%/worker.sock" for $t->api
#     env                      a hash: more environment for both
sub new {
    my ($class, %opt) = @_;

    my $self = bless {
        opt      => {%opt},
        dir      => File::Temp::tempdir('nucleus-test-XXXXXX', DIR => temp_base()),
        daemons  => {},
        groups   => {},
        expected => [],
        mounts   => [],
        owner    => $$,
    }, $class;

    # for nginx's processes, which may be another user's
    chmod 0755, $self->{dir};

    $self->{dir} = Cwd::abs_path($self->{dir});
    $self->{port} = $self->free_port;
    $self->{port2} = $self->free_port;
    $self->{$_} = $opt{$_} // "$self->{dir}/$_" for qw(queue state store);

    # in a user namespace nginx cannot set its groups, which it says
    $self->expect_log(qr/initgroups\(root, 0\) failed/) if $ENV{NUCLEUS_TEST_NAMESPACE};

    $all{ $self->{dir} } = $self;
    $self->{registry} = Nucleus::Registry->new($self) if $opt{keys};
    $self->write_confs;

    return $self;
}

# Where temporary directories go: a queue in memory is refused.
sub temp_base {
    for my $dir (File::Spec->tmpdir, '/tmp', '/var/tmp', $ROOT) {
        return $dir if -w $dir && qx{stat -f -c %T -- '$dir'} !~ /^(?:tmpfs|ramfs)$/;
    }

    die "no directory for temporary files but in memory: set TMPDIR\n";
}

sub dir    { return $_[0]{dir} }
sub port   { return $_[0]{port} }
sub port2  { return $_[0]{port2} }    # a second one, for what a test needs
sub queue  { return $_[0]{queue} }
sub state  { return $_[0]{state} }
sub store  { return $_[0]{store} }
sub is_root { return $> == 0 }
sub registry { return $_[0]{registry} }

sub fill_in {
    my ($self, $text) = @_;

    my $opt = $self->{opt};
    my $user = $opt->{user} // 'root';
    my %value = (
        USER          => $self->is_root ? "user $user;" : '',
        MODULE        => $opt->{module} // module_file(),
        WORKERS       => $opt->{workers} // 1,
        DIR           => $self->{dir},
        PORT          => $self->{port},
        PORT2         => $self->{port2},
        QUEUE         => $self->{queue},
        STATE         => $self->{state},
        STORE         => $self->{store},
        AUTH          => $opt->{keys} ? $opt->{limits} // 'nucleus_limit off;' : 'nucleus_auth off;',
        REGISTRY      => $opt->{keys} ? 'nucleus_registry ' . $self->registry->snapshot . ';' : '',
        API           => $opt->{api} // 'off',
        QUEUE_OPTIONS => $opt->{queue_options} // 'min_free=0 segment=4m',
        map { (uc $_ => $opt->{$_} // '') }
            qw(main events http server locations pipeline sink more),
    );

    $text =~ s/^load_module .*\n//mg if is_static();

    # what is inserted may have names of its own
    for (1 .. 2) {
        $text =~ s/%%([A-Z0-9_]+)%%/$value{$1} \/\/ die "no value for %%$1%%\n"/ge;
    }

    return $text;
}

# Write both configurations, after "more" options have replaced the earlier ones.
sub write_confs {
    my ($self, %opt) = @_;

    $self->{opt} = { %{ $self->{opt} }, %opt };
    $self->write_file('nginx.conf', $self->fill_in($self->{opt}{nginx} // $NGINX_CONF));
    $self->write_file('worker.conf', $self->fill_in($self->{opt}{worker} // $WORKER_CONF));
}

sub write_file {
    my ($self, $name, $text) = @_;

    my $path = $name =~ m{^/} ? $name : "$self->{dir}/$name";
    File::Path::make_path(dirname($path));
    open my $fh, '>:raw', $path or die "open of $path failed: $!\n";
    print {$fh} $text;
    close $fh or die "write of $path failed: $!\n";

    return $path;
}

sub read_file {
    my ($self, $name) = @_;

    my $path = $name =~ m{^/} ? $name : "$self->{dir}/$name";
    open my $fh, '<:raw', $path or return '';
    local $/;

    return scalar(<$fh>) // '';
}

# For TLS: cert.pem and key.pem in the directory, of 127.0.0.1 and localhost.
sub make_certificate {
    my ($self) = @_;

    my ($status, $out) = $self->run([
        qw(openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost),
        '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost',
        '-keyout', "$self->{dir}/key.pem", '-out', "$self->{dir}/cert.pem"
    ]);
    die "openssl failed: $out\n" if $status != 0;
    chmod 0644, "$self->{dir}/key.pem";
}

# A source file as a library to preload; its path.
sub preload {
    my ($self, $source) = @_;

    my $so = "$self->{dir}/" . basename($source, '.c') . '.so';
    my $cc = $ENV{CC} // 'cc';
    my ($status, $out) = $self->run([ $cc, qw(-O1 -Wall -Werror -fPIC -shared -o), $so, $source, '-ldl' ]);
    die "$cc failed: $out\n" if $status != 0;

    return $so;
}

# ---- ports

# A port that no other test of this machine takes: a socket of that name in Linux's abstract name
# space is the lock.  It leaves no file and goes with this process.
sub free_port {
    my ($self) = @_;

    for (1 .. 1000) {
        my $port = PORT_FIRST + int rand PORT_COUNT;
        my $lock = IO::Socket::UNIX->new(Local => "\0nucleus-test-$port", Listen => 1) or next;
        my $probe = IO::Socket::INET->new(
            LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 1, ReuseAddr => 1)
            or next;
        push @{ $self->{ports} }, $lock;
        return $port;
    }

    die "no free port on 127.0.0.1\n";
}

# ---- waiting

# Calls the code until it returns true, and returns that; after "seconds" the test fails, and false
# is returned.
sub wait_for {
    my ($self, $what, $seconds, $code) = @_;

    my $value = poll_for($seconds, $code);
    return $value if $value;

    Test::More::fail("$what within $seconds s");
    $self->show_logs;

    return;
}

# The same without a verdict.
sub poll_for {
    my ($seconds, $code) = @_;

    my $end = time + $seconds;
    my $pause = 0.005;

    while (1) {
        my $value = $code->();
        return $value if $value;
        return if time > $end;
        sleep $pause;
        $pause = $pause * 1.5 < 0.05 ? $pause * 1.5 : 0.05;
    }
}

# ---- processes

# Start a program as the leader of a process group of its own, its output into NAME.out.
sub spawn {
    my ($self, $name, $argv, %opt) = @_;

    my $out = "$self->{dir}/$name.out";
    my $pid = fork;
    die "fork failed: $!\n" if !defined $pid;

    if ($pid == 0) {
        eval {
            POSIX::setpgid(0, 0);
            chdir $self->{dir} or die "chdir: $!\n";
            open STDIN, '<', '/dev/null' or die "stdin: $!\n";
            open STDOUT, '>>', $out or die "stdout: $!\n";
            open STDERR, '>>', $out or die "stderr: $!\n";
            local @ENV{ keys %{ $self->{opt}{env} // {} } } = values %{ $self->{opt}{env} // {} };
            local @ENV{ keys %{ $opt{env} // {} } } = values %{ $opt{env} // {} };
            { exec { $argv->[0] } @$argv };
            die "exec of $argv->[0] failed: $!\n";
        };
        print STDERR $@;
        POSIX::_exit(127);
    }

    # here too, so that it is done whoever runs first
    POSIX::setpgid($pid, $pid);

    return $self->adopt($name, $pid);
}

# The leader of a process group is to be looked after.
sub adopt {
    my ($self, $name, $pid) = @_;

    $self->{daemons}{$name} = $pid;
    $self->{pgrp}{$name} = $pid;
    $self->{groups}{$pid} = $name;

    return $pid;
}

# Whose parent ends becomes a child of this process, as it otherwise becomes one of init.
sub adopt_orphans {
    my %prctl = (x86_64 => 157, aarch64 => 167);
    my $number = $prctl{ (POSIX::uname())[4] } // die "prctl has no known number here\n";

    # PR_SET_CHILD_SUBREAPER
    syscall($number, 36, 1, 0, 0, 0) == 0 or die "prctl failed: $!\n";
}

sub pid { return $_[0]{daemons}{ $_[1] } }

# Has the child ended?  Its status is then in $self->{status}{NAME}.
sub ended {
    my ($self, $name) = @_;

    my $pid = $self->{daemons}{$name} or return 1;
    return 0 if waitpid($pid, WNOHANG) != $pid;

    $self->{status}{$name} = $?;
    delete $self->{daemons}{$name};

    return 1;
}

# What /proc says of all processes: pid => { ppid, pgrp, comm, alive }.  One whose first thread has
# ended lives on, with its files and sockets, until its last thread has.
sub processes {
    my %found;

    for my $file (glob '/proc/[0-9]*/stat') {
        open my $fh, '<', $file or next;
        my $line = <$fh> // next;
        my ($pid, $comm, $rest) = $line =~ /^(\d+) \((.*)\) (\S .*)/s or next;
        my ($state, $ppid, $pgrp, $threads) = (split ' ', $rest)[ 0, 1, 2, 17 ];
        $found{$pid} = {
            ppid  => $ppid,
            pgrp  => $pgrp,
            comm  => $comm,
            alive => $state ne 'Z' || $threads > 1,
        };
    }

    return \%found;
}

# The living processes of a group.
sub group {
    my ($pgrp) = @_;

    my $all = processes();

    return grep { $all->{$_}{pgrp} == $pgrp && $all->{$_}{alive} } sort { $a <=> $b } keys %$all;
}

# The living children of a daemon, those alone whose name matches.
sub children {
    my ($self, $name, $match) = @_;

    my $parent = $self->{daemons}{$name} or return;

    return children_of($parent, $match);
}

sub children_of {
    my ($parent, $match) = @_;

    my $all = processes();

    return grep {
               $all->{$_}{ppid} == $parent
            && $all->{$_}{alive}
            && (!defined $match || $all->{$_}{comm} =~ $match)
    } sort { $a <=> $b } keys %$all;
}

# nginx's worker processes, or those of another master, without those that are shutting down.
sub nginx_workers {
    my ($self, $master) = @_;

    return grep { cmdline($_) =~ /^nginx: worker process$/ } children_of($master // $self->pid('nginx') // return);
}

sub cmdline {
    my ($pid) = @_;

    open my $fh, '<', "/proc/$pid/cmdline" or return '';
    my $line = <$fh> // '';
    $line =~ s/\0/ /g;
    $line =~ s/ +\z//;

    return $line;
}

# Has a process a TCP connection, in whatever state?  Without that, the one that a client has just
# left may still be among its open files.
sub has_connections {
    my ($pid) = @_;

    my %socket = map { /^socket:\[(\d+)\]$/ ? ($1 => 1) : () } open_files($pid);

    open my $fh, '<', "/proc/$pid/net/tcp" or die "open of /proc/$pid/net/tcp failed: $!\n";

    while (my $line = <$fh>) {
        my ($state, $inode) = (split ' ', $line)[ 3, 9 ];
        return 1 if $socket{$inode} && $state ne TCP_LISTEN;
    }

    return 0;
}

sub open_files {
    my ($pid) = @_;

    opendir my $dh, "/proc/$pid/fd" or return;

    return map { readlink("/proc/$pid/fd/$_") // () } grep { !/^\./ } readdir $dh;
}

# ---- nginx and the worker

sub nginx_command {
    my ($self, @more) = @_;

    return [
        nginx_binary(), '-p', $self->{dir}, '-c', "$self->{dir}/nginx.conf",
        '-e', "$self->{dir}/error.log", @more
    ];
}

# Run a program to its end: its exit status and what it printed.
sub run {
    my ($self, $argv, %opt) = @_;

    my $name = 'run-' . ++$self->{runs};
    $self->spawn($name, $argv, %opt);

    if (!$self->wait_for("@$argv ends", $opt{seconds} // 60, sub { $self->ended($name) })) {
        kill KILL => -$self->{daemons}{$name};
        poll_for(10, sub { $self->ended($name) });
    }

    my $out = $self->read_file("$name.out");
    unlink "$self->{dir}/$name.out";

    my $status = delete $self->{status}{$name};

    return ($status & 127 ? 128 + ($status & 127) : $status >> 8, $out);
}

# nginx -t: its exit status and its messages.
sub nginx_test {
    my ($self) = @_;

    # messages of a configuration that is wrong do not belong into the log that is looked through
    my $command = $self->nginx_command('-t');
    $command->[6] = '/dev/null';

    my ($status, $out) = $self->run($command);

    # in a container the temporary directory may lie on one: t/storage.t looks at this warning
    $out =~ s/^.*\[warn\] nucleus queue "\Q$self->{dir}\E.*\n//mg if !$self->{opt}{env};

    return ($status, $out);
}

# Both, or the test ends here.
sub start {
    my ($self, %opt) = @_;

    $self->start_nginx(%opt) or die "nginx does not start\n";
    $self->start_worker or die "nucleus-worker does not start\n";

    return 1;
}

# Options: ready => 0: do not wait until events are accepted; env: more environment.
sub start_nginx {
    my ($self, %opt) = @_;

    if (!$self->{tested}++) {
        my ($status, $out) = $self->nginx_test;

        if ($status != 0) {
            Test::More::fail('nginx -t accepts the configuration');
            Test::More::diag($out);
            return 0;
        }
    }

    if ($self->{opt}{upgradable}) {
        $self->start_daemon(%opt) or return 0;
    } else {
        $self->spawn('nginx', $self->nginx_command('-g', 'daemon off;'), env => $opt{env});
    }

    return $self->wait_for('nginx listens', START_SECONDS, sub {
        return -1 if $self->ended('nginx');
        my $c = Nucleus::Client->new(port => $self->{port}, may_fail => 1);
        return $c ? 1 : 0;
    }) && $self->pid('nginx') && (!($opt{ready} // 1) || $self->wait_ready);
}

# nginx as it starts without a test: only then it obeys USR2 and WINCH.  It leads a group of its own.
sub start_daemon {
    my ($self, %opt) = @_;

    adopt_orphans();
    unlink "$self->{dir}/nginx.pid";

    my ($status, $out) = $self->run($self->nginx_command, env => $opt{env});
    Test::More::diag($out) if $status != 0;

    my $pid = $status == 0
        && $self->wait_for('nginx has a pid file', START_SECONDS, sub { $self->master_pid });

    return $pid && $self->adopt('nginx', $pid);
}

# What the pid file says.
sub master_pid {
    my ($self) = @_;

    return $self->read_file('nginx.pid') =~ /^(\d+)\n/ ? $1 : undef;
}

# Until the health location, if there is one, says that events are accepted.
sub wait_ready {
    my ($self, $seconds) = @_;

    return $self->wait_for('events are accepted', $seconds // START_SECONDS, sub {
        my $r = $self->get('/health');
        return $r->status == 200 || $r->status == 404;
    });
}

sub worker_command {
    my ($self, @more) = @_;

    return [ worker_binary(), '-c', "$self->{dir}/worker.conf", @more ];
}

sub start_worker {
    my ($self) = @_;

    my $before = length $self->read_file('worker.out');

    $self->spawn('worker', $self->worker_command);

    return $self->wait_for('nucleus-worker starts', START_SECONDS, sub {
        return -1 if $self->ended('worker');
        return index($self->read_file('worker.out'), '"msg":"worker started"', $before) >= 0;
    }) && $self->pid('worker');
}

# Run a command of nucleus-worker beside the one that works: exit status and output.
sub worker {
    my ($self, @args) = @_;

    return $self->run($self->worker_command(@args));
}

# --status --json of one pipeline.
sub status {
    my ($self, $pipeline) = @_;

    my ($code, $out) = $self->worker('--status', '--json');
    my $status = eval { JSON::PP->new->utf8->decode($out) } or return;
    my ($found) = grep { $_->{name} eq ($pipeline // 'store') } @{ $status->{pipelines} };

    return $found;
}

sub signal {
    my ($self, $signal, $name) = @_;

    my $pid = $self->{daemons}{$name} or die "$name does not run\n";

    return kill $signal => $pid;
}

# Ask a daemon to end, and wait until it and its whole group have.  Returns its wait status, or
# undef when it had to be killed, which fails the test.
sub stop {
    my ($self, $name, $signal, $seconds) = @_;

    my $pid = $self->{daemons}{$name} or return;
    my $pgrp = $self->{pgrp}{$name};

    $signal //= $name eq 'nginx' ? 'QUIT' : 'TERM';
    kill $signal => $pid;

    my $ended = poll_for($seconds // STOP_SECONDS,
        sub { $self->ended($name) && !group($pgrp) });

    if ($ended) {
        delete $self->{groups}{$pgrp};
        return $self->{status}{$name};
    }

    Test::More::fail("$name ends after SIG$signal");
    Test::More::diag(join "\n", map { "left: $_ " . cmdline($_) } group($pgrp));
    $self->kill_group($name);

    return;
}

# kill -9 of a daemon with all of its group.
sub kill_all {
    my ($self, $name) = @_;

    $self->{daemons}{$name} or die "$name does not run\n";
    $self->kill_group($name);
}

sub kill_group {
    my ($self, $name) = @_;

    my $pgrp = $self->{pgrp}{$name};

    kill KILL => -$pgrp;
    poll_for(20, sub { $self->ended($name) && !group($pgrp) });
    delete $self->{groups}{$pgrp};

    # what was left to us
    1 while waitpid(-$pgrp, WNOHANG) > 0;
}

# Reload nginx; returns when new processes serve and, unless "wait" is 0, the old ones have ended.
sub reload {
    my ($self, %opt) = @_;

    my %old = map { $_ => 1 } $self->nginx_workers;

    $self->{old_workers} = \%old;
    $self->signal('HUP', 'nginx');

    my $new = $self->wait_for('new nginx processes', START_SECONDS, sub {
        my @new = grep { !$old{$_} } $self->nginx_workers;
        return @new >= ($self->{opt}{workers} // 1);
    }) or return;

    return 1 if !($opt{wait} // 1);

    return $self->wait_old($opt{seconds});
}

# Until the processes from before the last reload have ended.  Only then is nginx_workers sure to
# give the new ones alone: an old one gets its name "is shutting down" when it comes to run.
sub wait_old {
    my ($self, $seconds) = @_;

    return $self->wait_for('old nginx processes end', $seconds // START_SECONDS, sub {
        return !grep { $self->{old_workers}{$_} } $self->children('nginx');
    });
}

# Replace nginx's binary as docs/operations.md says; returns when the new master is alone, or, with
# "back", the old one again.
sub upgrade {
    my ($self, %opt) = @_;

    my $old = $self->pid('nginx');
    my $workers = $self->{opt}{workers} // 1;
    my $new;

    kill USR2 => $old;
    $self->wait_for('a new master with its processes', START_SECONDS, sub {
        $new = $self->master_pid;
        return $new && $new != $old && $self->nginx_workers($new) == $workers;
    }) or return;

    kill WINCH => $old;
    $self->wait_for("the old master's processes end", START_SECONDS,
        sub { !grep { $_ != $new } children_of($old) }) or return;

    return $self->upgrade_back($old, $new) if $opt{back};

    kill QUIT => $old;
    $self->wait_for('the old master ends', START_SECONDS, sub { $self->ended('nginx') }) or return;
    $self->{daemons}{nginx} = $new;

    return 1;
}

sub upgrade_back {
    my ($self, $old, $new) = @_;

    kill HUP => $old;
    $self->wait_for('the old master has processes again', START_SECONDS,
        sub { $self->nginx_workers($old) == ($self->{opt}{workers} // 1) }) or return;

    kill QUIT => $new;

    return $self->wait_for('the new master ends, the old one has the pid file', START_SECONDS,
        sub { !processes()->{$new} && ($self->master_pid // 0) == $old });
}

# ---- requests and events

sub client {
    my ($self, %opt) = @_;

    return Nucleus::Client->new(port => $self->{port}, %opt);
}

# One request on a connection of its own.  The status is 0 when no answer came.
sub request {
    my ($self, $method, $uri, $headers, $body, %opt) = @_;

    my $c = Nucleus::Client->new(port => $opt{port} // $self->{port}, unix => $opt{unix}, may_fail => 1);
    my $r = $c && $c->request($method, $uri, [ @$headers, Connection => 'close' ], $body, %opt);
    $c->close if $c;

    return $r // Nucleus::Response->new('no answer');
}

# Options: headers (a list), and those of request.
sub get {
    my ($self, $uri, %opt) = @_;

    my @headers = @{ delete $opt{headers} // [] };

    return $self->request('GET', $uri, \@headers, undef, %opt);
}

# The same to the worker's local API.
sub api {
    my ($self, $uri, %opt) = @_;

    return $self->request('GET', $uri, $opt{headers} // [], undef, unix => "$self->{dir}/worker.sock", %opt);
}

# Options: type (application/json), headers (a list), and those of request.
sub post {
    my ($self, $uri, $body, %opt) = @_;

    my $type = delete $opt{type} // 'application/json';
    my @headers = @{ delete $opt{headers} // [] };

    return $self->request('POST', $uri, [ 'Content-Type' => $type, @headers ], $body, %opt);
}

# A response must be a receipt for that many events: 202, where it is durable, their ids.
sub is_receipt {
    my ($self, $r, $count, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $json = $r ? $r->json : undef;
    my $uuid = qr/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
    my $ok =
           $r
        && $r->status == 202
        && ($r->header('Nucleus-Durability') // '') eq 'log'
        && ($r->header('Content-Type') // '') eq 'application/json'
        && ref $json eq 'HASH'
        && ($json->{accepted} // -1) == $count
        && ref $json->{ids} eq 'ARRAY'
        && @{ $json->{ids} } == $count
        && !grep { $_ !~ $uuid } @{ $json->{ids} };

    Test::More::ok($ok, $name // "a receipt for $count")
        or Test::More::diag($r ? $r->text : 'no answer');

    return $ok;
}

# A response must be this problem (RFC 9457), with these further members.
sub is_problem {
    my ($self, $r, $status, $type, $members, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $json = $r ? $r->json : undef;
    my @wrong;

    if (ref $json ne 'HASH') {
        push @wrong, 'no JSON object';

    } else {
        my %want = (%{ $members // {} }, status => $status, type => "urn:nucleus:problem:$type");
        push @wrong, "status line $r->{line}" if $r->status != $status;
        push @wrong, 'Content-Type ' . ($r->header('Content-Type') // 'none')
            if ($r->header('Content-Type') // '') ne 'application/problem+json';
        push @wrong, 'no title' if !length($json->{title} // '');

        for my $key (sort keys %want) {
            my $got = $json->{$key};
            push @wrong, "$key is " . ($got // 'not there') . ", not $want{$key}"
                if !defined $got
                || (ref $want{$key} ? $got !~ $want{$key} : $got ne $want{$key});
        }
    }

    Test::More::ok(!@wrong, $name // $type)
        or Test::More::diag(join "\n", @wrong, $r ? $r->text : 'no answer');

    return !@wrong;
}

sub events {
    my ($self, $store) = @_;

    return Nucleus::Store::events($store // $self->{store});
}

# Wait until the store has that many events, or those that the code wants, and return all.
sub wait_events {
    my ($self, $want, $store, $seconds) = @_;

    my @events;

    $self->wait_for((ref $want ? 'events' : "$want events") . ' in the store',
        $seconds // 30, sub {
            @events = $self->events($store);
            return ref $want ? $want->(@events) : @events >= $want;
        });

    return @events;
}

# ---- the end

# Log lines that match are no reason to fail.
sub expect_log {
    my ($self, @patterns) = @_;

    push @{ $self->{expected} }, @patterns;
}

sub log_files {
    my ($self) = @_;

    return grep { !m{/access\.log$} } sort glob "$self->{dir}/*.log $self->{dir}/*.out $self->{dir}/run/*.log";
}

# All text of the logs.
sub logs {
    my ($self) = @_;

    return join '', map { $self->read_file($_) } $self->log_files;
}

sub show_logs {
    my ($self) = @_;

    for my $file ($self->log_files) {
        my @lines = split /\n/, $self->read_file($file);
        splice @lines, 0, @lines - 25 if @lines > 25;
        Test::More::diag(join "\n", "--- the end of $file", @lines) if @lines;
    }
}

sub check_logs {
    my ($self) = @_;

    my @bad;

    for my $file ($self->log_files) {
        for my $line (split /\n/, $self->read_file($file)) {
            next if $line !~ $BAD;
            next if grep { $line =~ $_ } @{ $self->{expected} };
            push @bad, basename($file) . ": $line";
        }
    }

    splice @bad, 20 if @bad > 20;

    Test::More::ok(!@bad, 'no alert, crit, emerg, error of the worker or sanitizer report')
        or Test::More::diag(join "\n", @bad);

    my @wrong = $self->wrong_lines('worker.out');
    Test::More::ok(!@wrong, "the worker's log is as docs/log.schema.json says")
        or Test::More::diag(join "\n", @wrong);
}

# The worker's lines in a file that are not as the schema says.  What is no object is not its own.
sub wrong_lines {
    my ($self, $file) = @_;

    state $schema = Nucleus::Schema->load("$ROOT/docs/log.schema.json");
    my (@wrong, %seen);

    for my $line (grep { /^\{/ } $self->read_file($file) =~ /^(.*)\n/mg) {

        # a long log says the same things again and again
        next if $seen{ $line =~ s/:(?:"(?:\\.|[^"\\])*"|\d+)//gr }++ > 100;

        my $why = $schema->wrong_text($line) // next;
        push @wrong, "$why: $line";
        last if @wrong == 20;
    }

    return @wrong;
}

# Stop both, then: were they stopped in order, is nothing left, are the logs clean?
sub finish {
    my ($self) = @_;

    delete $all{ $self->{dir} } or return;

    for my $name (qw(nginx worker), sort keys %{ $self->{daemons} }) {
        next if !$self->{daemons}{$name};

        if ($self->ended($name)) {
            Test::More::fail("$name has not ended by itself (status $self->{status}{$name})");
            next;
        }

        my $status = $self->stop($name);
        Test::More::is($status, 0, "$name ends with status 0") if $name =~ /^(?:nginx|worker)$/;
    }

    my @left = map { group($_) } keys %{ $self->{groups} };
    Test::More::ok(!@left, 'no process is left')
        or Test::More::diag(join "\n", map { "$_ " . cmdline($_) } @left);
    kill KILL => @left if @left;

    $self->check_logs;
    $self->clean_up;
}

sub clean_up {
    my ($self) = @_;

    my $keep = $ENV{NUCLEUS_KEEP} || !Test::More->builder->is_passing;

    if (!Test::More->builder->is_passing) {
        $self->show_logs;
    }

    for my $mount (reverse @{ $self->{mounts} }) {
        system 'umount', $mount;
    }

    if ($keep) {
        Test::More::diag("kept: $self->{dir}");
    } else {
        File::Path::remove_tree($self->{dir}, { safe => 0 });
    }
}

# A test that died, or was interrupted, leaves nothing running either.
sub abandon {
    for my $self (values %all) {
        next if $self->{owner} != $$;
        kill KILL => -$_ for keys %{ $self->{groups} };

        for my $pid (keys %{ $self->{groups} }) {
            poll_for(10, sub { waitpid($pid, WNOHANG) != 0 && !group($pid) });
        }

        Test::More::diag('not finished');
        $self->show_logs;

        for my $mount (reverse @{ $self->{mounts} }) {
            system 'umount', $mount;
        }

        Test::More::diag("kept: $self->{dir}");
    }

    %all = ();
}

END {
    if ($$ == $main_pid) {
        my $status = $?;
        abandon();
        $? = $status;
    }
}

$SIG{$_} = sub { exit 130 } for qw(INT TERM HUP);
$SIG{PIPE} = 'IGNORE';

1;
