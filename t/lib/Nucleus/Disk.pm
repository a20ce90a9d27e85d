package Nucleus::Disk;

# Small file systems of their own for tests that fill them up.
#
#     Nucleus::Disk::namespace();              # at the top of the test
#     my $dir = Nucleus::Disk::mount($t, 'queue', 32 << 20) or …
#
# An ordinary user gets them in a user and mount namespace, where the kernel allows that.

use strict;
use warnings;

use POSIX ();

use Nucleus::Fault;

# Run this test again inside a namespace, unless it is root's or no namespace can be had.
sub namespace {
    return if $> == 0 || $ENV{NUCLEUS_TEST_NAMESPACE};
    return if system('unshare -Urm true >/dev/null 2>&1') != 0;

    $ENV{NUCLEUS_TEST_NAMESPACE} = 1;
    exec 'unshare', '-Urm', $^X, (map { "-I$_" } grep { !ref } @INC), $0, @ARGV
        or die "exec of unshare failed: $!\n";
}

# An empty file system of so many bytes on DIR/NAME; it is unmounted when the test has finished.
# ext4 in a file where loop devices can be had, else tmpfs.  undef when none can be mounted.
sub mount {
    my ($t, $name, $bytes) = @_;

    return if $> != 0;

    my $dir = $t->dir . "/$name";
    mkdir $dir;

    my $image = $t->write_file("$name.img", '');
    truncate $image, $bytes;

    my $disk = run(qw(mkfs.ext4 -q -F -m 0 -O ^has_journal), $image) && run(qw(mount -o loop), $image, $dir);
    return if !$disk && !run(qw(mount -t tmpfs -o), "size=$bytes,mode=0755", 'none', $dir);

    push @{ $t->{mounts} }, $dir;

    # which is refused as what it is
    if (!$disk && $dir eq $t->queue) {
        my $fault = Nucleus::Fault->new($t);
        $fault->set('fs-disk');
        $t->write_confs(env => $fault->env);
    }

    rmdir "$dir/lost+found";

    return $dir;
}

sub run {
    my $pid = fork;
    die "fork failed: $!\n" if !defined $pid;

    if ($pid == 0) {
        open STDOUT, '>', '/dev/null';
        open STDERR, '>', '/dev/null';
        { no warnings 'exec'; exec @_ }
        POSIX::_exit(127);
    }

    waitpid $pid, 0;

    return $? == 0;
}

# Bytes that an ordinary user may still write.
sub free_bytes {
    my ($dir) = @_;

    # df, for Perl has no statvfs of its own
    my @df = qx{df -Pk -- '$dir'};
    my ($free) = ($df[1] // '') =~ /^\S+\s+\d+\s+\d+\s+(\d+)/;

    return 1024 * ($free // die "df of $dir failed\n");
}

# Fill it up: the ballast file that has to go for the disk to come back.
sub fill {
    my ($dir, $leave) = @_;

    my $file = "$dir/ballast";
    open my $fh, '>>:raw', $file or die "open of $file failed: $!\n";

    my $block = 'x' x 4096;
    my $left = free_bytes($dir) - ($leave // 0);

    while ($left > 0 && (defined $leave ? syswrite($fh, $block, $left < 4096 ? $left : 4096)
            : syswrite($fh, $block)))
    {
        $left -= 4096 if defined $leave;
    }

    close $fh;

    return $file;
}

1;
